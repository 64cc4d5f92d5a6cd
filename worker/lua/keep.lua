-- Renews a worker's membership and its leases, and balances the shards between the workers.
--
-- KEYS[1] members   KEYS[2] epoch counter   KEYS[3] meta   KEYS[4] notices
-- KEYS[5] members of the group with the other source   KEYS[6] its meta
-- KEYS[7...] lease and marks of each shard, starting with shard 0
-- ARGV[1] worker id   ARGV[2] incarnation: unique per process   ARGV[3] lease time in ms
-- ARGV[4] the settings that all workers share, as stored by setup.lua
-- ARGV[5] number of this partition, or 0   ARGV[6] 1 to count the symbols of the group, otherwise 0
-- ARGV[7...] for each shard the token that this worker believes it holds, or '' for none
-- Returns {'kept', ms until another worker may be dead unless it renews,
--          the number of symbols in the group or -1, {token or '' of each shard}},
--      {'in use', ms since the other worker with this id was seen},
--      {'other source', id of a live worker of it that publishes to the same keys},
--      or {'settings changed', the current settings, or '' if the group is gone}.
--
-- Protects G4 and G6. A lease is a key with an expiry; its value is the token
-- '<worker id>:<epoch>'. The epoch grows with every acquisition, so a token is never reused. All
-- times are Redis's. There is no leader: each worker takes free shards up to its quota and releases
-- those above it. Quotas differ by at most one and are assigned in the order of the worker ids, so
-- that they add up; a worker within its quota keeps exactly what it has. Each partition begins where
-- the one before it ended, so that quotas differ by at most one over all partitions, too.
--
-- A lease of a dead member is free, whatever its expiry says: expiries go by the wall clock of
-- Redis's host, and a clock that is set back would extend them.

local members, epoch, meta, notices = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local worker_id, incarnation, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local partition, count_symbols, shards = tonumber(ARGV[5]), ARGV[6] == '1', #ARGV - 6
local function lease_key(shard) return KEYS[2 * shard + 5] end
local function marks_key(shard) return KEYS[2 * shard + 6] end

local settings = redis.call('HGET', meta, 'settings')
if settings ~= ARGV[4] then return {'settings changed', settings or ''} end

-- 1. Membership: remove dead workers, refuse a second live worker with this id, add this one, unless
--    the keys that it publishes to belong to workers with the other source.
local now_ms, living, left_ms_of, is_member = now_in_ms(), {worker_id}, {}, false
local all = redis.call('HGETALL', members)
for i = 1, #all, 2 do
  local id = all[i]
  local left_ms, silent_ms, its_incarnation = member(all[i + 1], now_ms)
  if id == worker_id then
    is_member = left_ms >= 0
    if is_member and its_incarnation ~= incarnation then return {'in use', silent_ms} end
  elseif left_ms < 0 then
    redis.call('HDEL', members, id)
  else
    living[#living + 1] = id
    left_ms_of[id] = left_ms
  end
end
if not is_member then
  local other = member_of_other_source(KEYS[5], KEYS[6], settings, now_ms)
  if other then return {'other source', other} end
end
redis.call('HSET', members, worker_id, string.format('%d:%d:%s', now_ms, lease_ms, incarnation))

-- 2. Quota.
table.sort(living)
local quota, left_over = math.floor(shards / #living), shards % #living
for i = 0, left_over - 1 do
  if living[(partition * left_over + i) % #living + 1] == worker_id then quota = quota + 1 end
end

-- 3. Renew the leases we still hold, and release those above the quota, with a notice to others.
local leases = {}
for shard = 1, shards do leases[shard] = lease_key(shard) end
local holders = redis.call('MGET', unpack(leases))
local tokens, held, gave_back = {}, 0, false
for shard = 1, shards do
  local lease, token = lease_key(shard), ARGV[shard + 6]
  tokens[shard] = ''
  if token ~= '' and holders[shard] == token then
    if held < quota then
      redis.call('PEXPIRE', lease, int(lease_ms))
      tokens[shard] = token
      held = held + 1
    else
      redis.call('DEL', lease)
      holders[shard], gave_back = false, true
    end
  end
end
if gave_back then redis.call('XADD', notices, 'MAXLEN', '1', '*', 'from', worker_id) end

-- 4. Count the symbols. Marks that somebody has overwritten with another type are reported when
--    the shard is taken.
local symbols = count_symbols and 0 or -1
if count_symbols then
  for shard = 1, shards do
    local count = redis.pcall('HLEN', marks_key(shard))
    if type(count) == 'number' then symbols = symbols + count end
  end
end

-- 5. Take free shards. A lease under our id whose token we did not send is from a lost reply: it is
--    taken again with a new token, so that a delayed commit with the old token fails.
local MOST = 2 ^ 52 -- a Lua number far above it stays the same when 1 is added
local function counted(text)
  local number = integer(text)
  return number and number >= 0 and number < MOST and number or nil
end
local function last_epoch()
  local last = counted(redis.call('GET', epoch) or '0')
  if last then return last end
  -- Damaged. No counter has reached Redis's time yet; if one has, after an earlier damage, leases
  -- tell how far it was.
  last = now_ms
  for shard = 1, shards do
    local token = holders[shard] or ''
    last = math.max(last, counted(string.match(token, ':(%d+)$') or '') or 0)
  end
  return last
end

local soonest_ms = lease_ms
for shard = 1, shards do
  local lease = lease_key(shard)
  local holder = tokens[shard] == '' and holders[shard]
  local left_ms = holder and left_ms_of[string.match(holder, '^(.*):')]
  if left_ms then
    soonest_ms = math.min(soonest_ms, left_ms)
  elseif tokens[shard] == '' and held < quota then
    -- Where another type is there, MGET finds nothing, and SET would replace it: GET fails.
    redis.call('GET', lease)
    local number = int(last_epoch() + 1)
    local token = worker_id .. ':' .. number
    redis.call('SET', epoch, number)
    redis.call('SET', lease, token, 'PX', int(lease_ms))
    tokens[shard] = token
    held = held + 1
  end
end
return {'kept', soonest_ms, symbols, tokens}
