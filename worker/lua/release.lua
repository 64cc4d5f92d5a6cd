-- Releases all shards of a worker that stops, and ends its membership.
--
-- KEYS[1] members   KEYS[2] notices   KEYS[3...] leases of the shards it holds
-- ARGV[1] worker id   ARGV[2] incarnation   ARGV[3...] the token of each lease
-- Returns the number of leases released.
--
-- Protects G4 and G6: others get a notice and take the shards at once; a lease that another worker
-- holds by now is left alone.

local members, notices, worker_id = KEYS[1], KEYS[2], ARGV[1]
local released = 0
for i = 3, #ARGV do
  if redis.call('GET', KEYS[i]) == ARGV[i] then
    released = released + redis.call('DEL', KEYS[i])
  end
end
local entry = redis.call('HGET', members, worker_id)
if entry then
  local _, _, incarnation = member(entry, 0)
  if incarnation == ARGV[2] then redis.call('HDEL', members, worker_id) end
end
if released > 0 then redis.call('XADD', notices, 'MAXLEN', '1', '*', 'from', worker_id) end
return released
