-- Creates the consumer group and its internal keys, or checks that this worker may join it.
--
-- KEYS[1] input stream   KEYS[2] meta   KEYS[3] members   KEYS[4] unfinished
-- KEYS[5] finished ids   KEYS[6] commits
-- KEYS[7] members of the group with the other source   KEYS[8] its meta
-- ARGV[1] group   ARGV[2] warm | replay | new, or look: change nothing   ARGV[3] worker id
-- ARGV[4] the settings that all workers share; they may change while no other worker is live
-- ARGV[5] the names of its longer intervals, separated by commas
-- ARGV[6...] name, value of each setting that can never change
-- Returns {'created' | 'joined', warm-up boundary},
--         {'deleted' | 'stream gone' | 'foreign' | 'none yet'}, {'fixed', name, found},
--         {'damaged', name, found}, {'running', settings found, the other worker's id}, or, with
--         'look', {'other source', id of a live worker of it that publishes to the same keys}.
--
-- Protects G2: all workers of a group calculate the same. Group and meta are created together, so
-- a meta without a group means that the group was deleted; then no worker guesses a position.

local input, meta, members, unfinished, finished_ids, commits = unpack(KEYS)
local group, start, worker_id, settings = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

-- An interval that is taken out of the settings leaves its keys behind: purge finds them by this.
local function note_intervals()
  for name in string.gmatch(ARGV[5], '[^,]+') do
    local field = 'interval:' .. name
    if redis.call('HEXISTS', meta, field) == 0 then redis.call('HSET', meta, field, '1') end
  end
end

local function another_living_member()
  local all, now_ms = redis.call('HGETALL', members), now_in_ms()
  for i = 1, #all, 2 do
    if all[i] ~= worker_id and member(all[i + 1], now_ms) >= 0 then return all[i] end
  end
  return nil
end

if start == 'look' then
  -- keep.lua refuses a worker for it; one that is already live stays.
  local other = member_of_other_source(KEYS[7], KEYS[8], settings, now_in_ms())
  if other then return {'other source', other} end
end
local known = redis.call('HEXISTS', meta, 'settings') == 1
local exists = group_info(input, group) ~= nil
if exists and not known then return {'foreign'} end
if not known and start == 'look' then return {'none yet'} end
if not known then
  -- Remove what an earlier group of this name has left.
  redis.call('DEL', unfinished, finished_ids, commits)
  redis.call('XGROUP', 'CREATE', input, group, start == 'new' and '$' or '0', 'MKSTREAM')
  local stream = stream_info(input)
  local boundary = start == 'warm' and stream['last-generated-id'] or '0-0'
  redis.call('HSET', meta, 'warm_until_id', boundary, 'settings', settings, unpack(ARGV, 6))
  -- No entry up to this one is ever routed, not even when entries are restored.
  local position = start == 'new' and stream['last-generated-id'] or '0-0'
  redis.call('HSET', meta, 'start_id', position)
  local added = stream['entries-added']
  if added then
    -- Entries trimmed before the group existed do not count as lost.
    local unread = start == 'new' and 0 or stream['length']
    local accounted = int(added - unread)
    redis.call('HSET', meta, 'entries_accounted', accounted)
    redis.call('XGROUP', 'SETID', input, group, position, 'ENTRIESREAD', accounted)
  end
  note_intervals()
  return {'created', boundary}
end

for i = 6, #ARGV, 2 do
  local name, wanted, found = ARGV[i], ARGV[i + 1], redis.call('HGET', meta, ARGV[i])
  if found ~= wanted then return {'fixed', name, found or ''} end
end
-- Only now: on another input stream than that of the group, there is no group to be found.
if not exists then
  return {redis.call('EXISTS', input) == 1 and 'deleted' or 'stream gone'}
end
for _, name in ipairs({'start_id', 'warm_until_id'}) do
  local found = redis.call('HGET', meta, name) or '0-0'
  if not is_id(found) then return {'damaged', name, found} end
end
local found = redis.call('HGET', meta, 'settings')
if found ~= settings then
  local other = another_living_member()
  if other then return {'running', found or '', other} end
  if start ~= 'look' then redis.call('HSET', meta, 'settings', settings) end
end
if start ~= 'look' then note_intervals() end
return {'joined', redis.call('HGET', meta, 'warm_until_id') or '0-0'}
