-- Reads new entries of the input and hands each to the shard of its symbol.
--
-- KEYS[1] input stream   KEYS[2] meta   KEYS[3] counters
-- ARGV[1] group   ARGV[2] intake consumer   ARGV[3] most entries to route
-- ARGV[4] most entries the group may have pending   ARGV[5] most bytes of a document
-- ARGV[6...] the consumer of each shard, from shard 0 on
-- Returns {entries routed, entries found trimmed unread, last id seen, ids between which an
--          unknown number may have been trimmed or '', shard, its pending entries, shard, ...}.
--
-- Protects G1, G5 and G8. Redis runs one script at a time: whoever routes, each shard's pending
-- list is in stream order and the intake's is empty again. What has no symbol goes to shard 0,
-- whose worker dead-letters it. The symbol is found by the rules of schemas/candle.py.

local input, meta, counters = KEYS[1], KEYS[2], KEYS[3]
local group, intake, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_pending, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local shards = #ARGV - 5

local function as_map(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

local function symbol_in(document)
  if #document > max_bytes then return nil end
  -- The upstream publisher's payload starts with the symbol.
  local symbol = string.match(document, '^{"symbol": ?"([^"\\]+)"')
  if symbol then return symbol end
  local first = string.byte(document, 1) or 0
  local is_messagepack = (first >= 0x80 and first < 0x90) or first == 0xde or first == 0xdf
  local decode = is_messagepack and cmsgpack.unpack or cjson.decode
  local ok, found = pcall(decode, document)
  if ok and type(found) == 'table' and type(found.data) == 'table' then found = found.data end
  if not ok or type(found) ~= 'table' then return nil end
  if found.e ~= nil then return found.s end
  return found.symbol
end

local function shard_of(fields)
  local entry = as_map(fields)
  local document = entry.payload or entry.data
  local symbol = entry.symbol
  if document then symbol = symbol_in(document) end
  if type(symbol) ~= 'string' then return 0 end
  return tonumber(string.sub(redis.sha1hex(symbol), 1, 8), 16) % shards
end

-- 1. What is pending, and for whom. The intake has entries only if a script was broken off.
local function pending()
  local summary = redis.call('XPENDING', input, group)
  local by_consumer = {}
  for _, pair in ipairs(summary[4] or {}) do by_consumer[pair[1]] = tonumber(pair[2]) end
  return summary[1], by_consumer
end
local total, by_consumer = pending()
local from = by_consumer[intake] and '0' or '>'
local room = math.min(most, max_pending - total)
if from == '0' then room = most end

-- 2. What was trimmed before anybody read it.
local stream = as_map(redis.call('XINFO', 'STREAM', input))
local group_info
for _, info in ipairs(redis.call('XINFO', 'GROUPS', input)) do
  local fields = as_map(info)
  if fields.name == group then group_info = fields end
end
local last_seen = group_info['last-delivered-id']

local function after(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  if a_ms ~= b_ms then return a_ms > b_ms end
  return tonumber(a_seq) > tonumber(b_seq)
end

-- `accounted` counts all entries ever added up to the last one read: routed, or trimmed unread.
-- While the stream keeps nothing that was read, all it keeps is unread, and what is missing in
-- between was trimmed.
local first = stream['first-entry'] and stream['first-entry'][1]
local only_unread = not first or after(first, group_info['last-delivered-id'])
local added = stream['entries-added']
local accounted, lost, suspect = 0, 0, ''
if added then
  accounted = tonumber(redis.call('HGET', meta, 'entries_accounted'))
  if only_unread then lost = math.max(0, added - stream['length'] - accounted) end
elseif first and only_unread and last_seen ~= '0-0' then
  suspect = last_seen .. ' and ' .. first
end

-- 3. Read, and hand over in stream order.
local routed, by_shard = 0, {}
if room > 0 then
  local reply = redis.call('XREADGROUP', 'GROUP', group, intake, 'COUNT', room,
    'STREAMS', input, from)
  for _, entry in ipairs(reply and reply[1][2] or {}) do
    local shard = shard_of(entry[2] or {})
    by_shard[shard] = by_shard[shard] or {}
    table.insert(by_shard[shard], entry[1])
    routed = routed + 1
    if from == '>' then last_seen = entry[1] end
  end
end
for shard, ids in pairs(by_shard) do
  local consumer = ARGV[6 + shard]
  by_consumer[consumer] = (by_consumer[consumer] or 0) + #ids
  table.insert(ids, 'JUSTID')
  redis.call('XCLAIM', input, group, consumer, 0, unpack(ids))
end

-- 4. Keep account, and set right what `lag` is calculated from: Redis loses count when entries
--    are trimmed or deleted unread (seen on 7.0.15).
if added then
  local caught_up = from == '>' and room > routed
  if caught_up then lost = math.max(0, added - accounted - routed) end
  -- Entries that somebody gave back to the intake have been counted before.
  local accounted_now = math.min(accounted + routed + lost, added)
  if accounted_now ~= accounted then
    redis.call('HSET', meta, 'entries_accounted', accounted_now)
  end
  if lost > 0 then redis.call('HINCRBY', counters, 'lost', lost) end
  if group_info['entries-read'] ~= accounted or lost > 0 then
    redis.call('XGROUP', 'SETID', input, group, last_seen,
      'ENTRIESREAD', accounted_now)
  end
end

-- A worker that must not route waits for entries newer than all there are.
local reply = {routed, lost, room > 0 and last_seen or stream['last-generated-id'], suspect}
for shard = 0, shards - 1 do
  local count = by_consumer[ARGV[6 + shard]]
  if count then
    table.insert(reply, shard)
    table.insert(reply, count)
  end
end
return reply
