-- Puts entries of a shard that were handed over, and are neither pending nor finished, back.
--
-- KEYS[1] input stream   KEYS[2] counters   KEYS[3] unfinished   KEYS[4] finished ids
-- ARGV[1] group   ARGV[2] shard   ARGV[3] its consumer   ARGV[4] number of shards
-- ARGV[5] most bytes of a document
-- Returns {entries put back, entries that the upstream has trimmed meanwhile}.
--
-- Protects G5. A shard finishes its entries in stream order, so what is missing lies between the
-- last entry it finished and the last one the group was given. Nothing newer has been handed over
-- since: route.lua refuses to while anything is missing.

local input, counters, unfinished, finished_ids = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, shard, consumer = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local shards, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local CHUNK = 500

local last_delivered
for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local fields = as_map(info)
  if fields.name == group then last_delivered = fields['last-delivered-id'] end
end

local pending = 0
for _, pair in ipairs(redis.call('XPENDING', input, group)[4] or {}) do
  if pair[1] == consumer then pending = tonumber(pair[2]) end
end
local missing = tonumber(redis.call('HGET', unfinished, consumer) or 0) - pending
if missing <= 0 then return {0, 0} end

-- Those still pending are claimed too: for them nothing changes.
local claimed = 0
local after = redis.call('HGET', finished_ids, consumer) or '0-0'
repeat
  local entries = redis.call('XRANGE', input, '(' .. after, last_delivered, 'COUNT', CHUNK)
  for _, entry in ipairs(entries) do
    after = entry[1]
    if shard_of(entry[2], shards, max_bytes) == shard then
      redis.call('XCLAIM', input, group, consumer, 0, entry[1], 'FORCE', 'JUSTID')
      claimed = claimed + 1
    end
  end
until #entries < CHUNK

local now_pending = 0
for _, pair in ipairs(redis.call('XPENDING', input, group)[4] or {}) do
  if pair[1] == consumer then now_pending = tonumber(pair[2]) end
end
local restored = now_pending - pending
local lost = missing - restored
if lost > 0 then
  redis.call('HINCRBY', counters, 'lost', lost)
  redis.call('HINCRBY', unfinished, consumer, -lost)
end
return {restored, lost}
