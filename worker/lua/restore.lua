-- Restores entries that were routed to a shard but are neither pending nor finished.
--
-- KEYS[1] input stream   KEYS[2] meta   KEYS[3] counters   KEYS[4] unfinished
-- KEYS[5] finished ids   KEYS[6] handed over
-- ARGV[1] group   ARGV[2] shard   ARGV[3] its consumer   ARGV[4] number of shards
-- ARGV[5] number of partitions   ARGV[6] maximum bytes of a document
-- Returns {'restored', entries restored, entries that the upstream has trimmed in the meantime,
--          the value in `unfinished`, in quotes, if it was damaged, or ''},
--      {'more'} if there is more of the stream to search: call again, from any worker,
--      or {'nothing missing'}.
--
-- Protects G1 and G5. A shard finishes its entries in stream order, so the missing ones are
-- between the last entry it finished, or the start of the group, and the last one delivered to the
-- group. Nothing newer has been routed since, because route.lua refuses to route while entries are
-- missing or a search is in progress. The progress is kept in meta, for each shard.

local input, meta, counters, unfinished, finished_ids, handed_over = unpack(KEYS)
local group, shard, consumer = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local shards, partitions, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local MOST_ENTRIES = 2000 -- searched at once: about 20 ms

local function pending_of_shard()
  local _, by_consumer = pending_entries(input, group)
  return by_consumer[consumer] or 0
end

local pending = pending_of_shard()
local found = redis.call('HGET', unfinished, consumer) or '0'
local noted = integer(found)
local every = progress_of_restoring(redis.call('HGET', meta, 'restoring') or nil)
local under_way = every[consumer]
if noted and noted <= pending and not under_way then return {'nothing missing'} end

-- 1. Where to continue. If more entries are missing than after the last slice, someone has taken
--    restored ones: then search again from the start.
local state = under_way or {at = '0-0', missing = math.huge, restored = 0, damaged = false}
if not noted then
  noted, state.damaged, state.missing = pending, '"' .. found .. '"', math.huge
  redis.call('HSET', unfinished, consumer, int(noted))
end
local at = noted - pending <= state.missing and state.at or '0-0'
for _, floor in ipairs({redis.call('HGET', meta, 'start_id') or '',
  redis.call('HGET', finished_ids, consumer) or ''}) do
  if is_id(floor) and after(floor, at) then at = floor end
end

-- 2. Claim. Entries that are still pending are claimed too, which changes nothing for them.
local last_delivered = group_info(input, group)['last-delivered-id']
local looked_through, bytes, at_the_end = 0, 0, not after(last_delivered, at)
while not at_the_end do
  local wanted = next_step(MOST_ENTRIES - looked_through, MOST_BYTES - bytes)
  if wanted == 0 then break end
  local entries = redis.call('XRANGE', input, '(' .. at, last_delivered, 'COUNT', int(wanted))
  local ids, before = {}, bytes
  for _, entry in ipairs(entries) do
    local its_shard, size = shard_of(entry[2], shards, partitions, max_bytes)
    if its_shard == shard then table.insert(ids, entry[1]) end
    bytes, at = bytes + size, entry[1]
  end
  if #ids > 0 then
    table.insert(ids, 'FORCE')
    table.insert(ids, 'JUSTID')
    redis.call('XCLAIM', input, group, consumer, '0', unpack(ids))
  end
  note_read(#entries, bytes - before)
  looked_through, at_the_end = looked_through + #entries, #entries < wanted
end
local now_pending = pending_of_shard()
state.restored = state.restored + now_pending - pending
if not at_the_end then
  state.at, state.missing, every[consumer] = at, noted - now_pending, state
  redis.call('HSET', meta, 'restoring', cmsgpack.pack(every))
  return {'more'}
end

-- 3. All unfinished entries are pending now. If there are fewer than were routed, the rest is gone;
--    if there are more, another client had read some of them, and route.lua updates the account.
local lost = math.max(0, noted - now_pending)
if lost > 0 then count(counters, 'lost', lost) end
if lost > 0 or state.damaged then
  redis.call('HSET', unfinished, consumer, int(now_pending))
end
every[consumer] = nil
if next(every) then
  redis.call('HSET', meta, 'restoring', cmsgpack.pack(every))
elseif under_way then
  redis.call('HDEL', meta, 'restoring')
end
if state.restored > 0 then
  redis.call('XADD', handed_over, 'MAXLEN', '1', '*', 'entries', int(state.restored))
end
return {'restored', state.restored, lost, state.damaged or ''}
