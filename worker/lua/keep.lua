-- Renews a worker's membership and its leases, and balances the shards between the workers.
--
-- KEYS[1] members   KEYS[2] epoch counter   KEYS[3] meta   KEYS[4] notices
-- KEYS[5...] the lease of each shard, starting with shard 0
-- ARGV[1] worker id   ARGV[2] incarnation: unique per process   ARGV[3] lease time in ms
-- ARGV[4] the settings that all workers share, as stored by setup.lua
-- ARGV[5...] for each shard the token that this worker believes it holds, or '' for none
-- Returns {'kept', ms until another worker's lease expires unless it is renewed,
--          token or '' of each shard ...},
--      {'in use', ms since the other worker with this id was seen},
--      or {'settings changed', the current settings, or '' if the group is gone}.
--
-- Protects G4 and G6. A lease is a key with an expiry; its value is the token
-- '<worker id>:<epoch>'. The epoch grows with every acquisition, so a token is never reused. All
-- times are Redis's. There is no leader: each worker takes free shards up to its quota and releases
-- those above it. Quotas differ by at most one and are assigned in the order of the worker ids, so
-- that they add up; a worker within its quota keeps exactly what it has.

local members, epoch, meta, notices = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local worker_id, incarnation, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local shards = #KEYS - 4
local function lease_key(shard) return KEYS[shard + 4] end

local settings = redis.call('HGET', meta, 'settings')
if settings ~= ARGV[4] then return {'settings changed', settings or ''} end

-- 1. Membership: remove dead workers, refuse a second live worker with this id, add this one.
local now_ms, living = now_in_ms(), {worker_id}
local all = redis.call('HGETALL', members)
for i = 1, #all, 2 do
  local id = all[i]
  local lives, silent_ms, its_incarnation = member(all[i + 1], now_ms)
  if id == worker_id then
    if its_incarnation ~= incarnation and lives then return {'in use', silent_ms} end
  elseif not lives then
    redis.call('HDEL', members, id)
  else
    living[#living + 1] = id
  end
end
redis.call('HSET', members, worker_id, string.format('%d:%d:%s', now_ms, lease_ms, incarnation))

-- 2. Quota.
table.sort(living)
local quota = math.floor(shards / #living)
for rank = 1, shards % #living do
  if living[rank] == worker_id then quota = quota + 1 end
end

-- 3. Renew the leases we still hold, and release those above the quota, with a notice to others.
local tokens, held, gave_back = {}, 0, false
for shard = 1, shards do
  local lease, token = lease_key(shard), ARGV[shard + 4]
  tokens[shard] = ''
  if token ~= '' and redis.call('GET', lease) == token then
    if held < quota then
      redis.call('PEXPIRE', lease, int(lease_ms))
      tokens[shard] = token
      held = held + 1
    else
      redis.call('DEL', lease)
      gave_back = true
    end
  end
end
if gave_back then redis.call('XADD', notices, 'MAXLEN', '1', '*', 'from', worker_id) end

-- 4. Take free shards. A lease under our id whose token we did not send is from a lost reply: it is
--    taken again with a new token, so that a delayed commit with the old token fails.
for shard = 1, shards do
  if held >= quota then break end
  local lease = lease_key(shard)
  local holder = redis.call('GET', lease)
  if tokens[shard] == '' and (not holder or string.match(holder, '^(.*):') == worker_id) then
    local token = worker_id .. ':' .. int(redis.call('INCR', epoch))
    redis.call('SET', lease, token, 'PX', int(lease_ms))
    tokens[shard] = token
    held = held + 1
  end
end

-- 5. When to call again at the latest, to take over from a worker that has died.
local soonest_ms = lease_ms
for shard = 1, shards do
  if tokens[shard] == '' then
    local left_ms = redis.call('PTTL', lease_key(shard))
    if left_ms >= 0 then soonest_ms = math.min(soonest_ms, left_ms) end
  end
end
return {'kept', soonest_ms, unpack(tokens)}
