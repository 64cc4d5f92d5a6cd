-- Restores entries that were routed to a shard but are neither pending nor finished.
--
-- KEYS[1] input stream   KEYS[2] meta   KEYS[3] counters   KEYS[4] unfinished
-- KEYS[5] finished ids
-- ARGV[1] group   ARGV[2] shard   ARGV[3] its consumer   ARGV[4] number of shards
-- ARGV[5] maximum bytes of a document
-- Returns {entries restored, entries that the upstream has trimmed in the meantime}.
--
-- Protects G1 and G5. A shard finishes its entries in stream order, so the missing ones are
-- between the last entry it finished and the last one delivered to the group. Nothing newer has
-- been routed since, because route.lua refuses to route while entries are missing.

local input, meta, counters, unfinished, finished_ids = unpack(KEYS)
local group, shard, consumer = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local shards, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local CHUNK = 500

local function pending_of_shard()
  local _, by_consumer = pending_entries(input, group)
  return by_consumer[consumer] or 0
end

local last_delivered = group_info(input, group)['last-delivered-id']
local pending = pending_of_shard()

-- Entries that are still pending are claimed too, which changes nothing for them.
local after = redis.call('HGET', finished_ids, consumer) or '0-0'
repeat
  local entries = redis.call('XRANGE', input, '(' .. after, last_delivered, 'COUNT', CHUNK)
  for _, entry in ipairs(entries) do
    after = entry[1]
    if shard_of(entry[2], shards, max_bytes) == shard then
      redis.call('XCLAIM', input, group, consumer, 0, entry[1], 'FORCE', 'JUSTID')
    end
  end
until #entries < CHUNK

-- All unfinished entries are pending now. If there are more than were routed, another client had
-- read some of them; if there are fewer, the rest is gone.
local now_pending = pending_of_shard()
local handed_over = tonumber(redis.call('HGET', unfinished, consumer) or 0)
redis.call('HSET', unfinished, consumer, now_pending)
local lost = math.max(0, handed_over - now_pending)
if lost > 0 then redis.call('HINCRBY', counters, 'lost', lost) end
if now_pending > handed_over and redis.call('HEXISTS', meta, 'entries_accounted') == 1 then
  redis.call('HINCRBY', meta, 'entries_accounted', now_pending - handed_over)
end
return {now_pending - pending, lost}
