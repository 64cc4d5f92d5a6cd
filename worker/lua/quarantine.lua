-- Stores which symbols of a shard are set aside and why, for `status`, `check` and `verify`.
--
-- KEYS[1] quarantine   KEYS[2] lease of the shard
-- ARGV[1] the lease's token   ARGV[2...] symbol, why it is set aside or '' if it no longer is, ...
-- Returns 'noted', or, if nothing was written, 'lease lost' or 'wrong type': the quarantine is not a
-- hash.
--
-- Protects G4 and G9.

local quarantine, lease, token = KEYS[1], KEYS[2], ARGV[1]
if redis.call('GET', lease) ~= token then return 'lease lost' end
local found = redis.call('TYPE', quarantine).ok
if found ~= 'none' and found ~= 'hash' then return 'wrong type' end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', quarantine, ARGV[i])
  else
    redis.call('HSET', quarantine, ARGV[i], ARGV[i + 1])
  end
end
return 'noted'
