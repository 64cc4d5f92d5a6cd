-- Reads new entries of the input and hands each to the shard of its symbol.
--
-- It returns the oldest unfinished ones of the caller's own shards.
--
-- KEYS[1] input stream   KEYS[2] meta   KEYS[3] counters   KEYS[4] unfinished   KEYS[5] notices
-- ARGV[1] group   ARGV[2] intake consumer   ARGV[3] most entries to route, and to return
-- ARGV[4] most entries the group may have pending   ARGV[5] most bytes of a document
-- ARGV[6] the caller's shards in the order in which to serve them: a MessagePack array of
--         {shard, id of the last entry in hand or '0', how many it has in hand}
-- ARGV[7...] the consumer of each shard, from shard 0 on
-- Returns {entries routed, entries found trimmed unread, last id seen, ids between which an
--          unknown number may have been trimmed or '', consumer that held entries and is no
--          shard or '', id of the last notice, Redis's time in ms,
--          heads, lengths, text},
--      {'missing', shard, ...} when entries of these shards must first be restored,
--      or {'meta gone'}.
-- `heads` and `lengths` are MessagePack arrays of integers: for each entry its shard and how many
-- strings its fields are (names and values; 0 when it was trimmed meanwhile); and the length of
-- its id and of each string. `text` has the ids and strings themselves, one behind the other: as
-- replies of their own, they would take the client longer to parse than all else it does.
--
-- Protects G1, G5 and G8. Redis runs one script at a time: whoever routes, each shard's pending
-- list is in stream order and the intake's is empty again.

local input, meta, counters, unfinished = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, intake, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_pending, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local own = cmsgpack.unpack(ARGV[6])
local shards = #ARGV - 6
local STRAYS = 500 -- entries of strays handed over at once
local MOST_TEXT = 8 * 1024 * 1024 -- bytes after which no further entry is returned

local function consumer_of(shard) return ARGV[7 + shard] end

-- 1. What was handed to a shard and is neither pending for it nor finished: the consumer was
--    deleted, or somebody claimed or acknowledged it by hand. Nothing newer may go before it.
if redis.call('HEXISTS', meta, 'settings') == 0 then return {'meta gone'} end
local total, by_consumer = pending_entries(input, group)
local outstanding = as_map(redis.call('HGETALL', unfinished))
local missing, is_shard = {'missing'}, {}
for shard = 0, shards - 1 do
  local consumer = consumer_of(shard)
  is_shard[consumer] = true
  outstanding[consumer] = tonumber(outstanding[consumer] or 0)
  if outstanding[consumer] > (by_consumer[consumer] or 0) then table.insert(missing, shard) end
end
if #missing > 1 then return missing end

-- 2. Whoever else holds entries (somebody read the group by other means) holds what is older than
--    all that is unread: that goes first.
local stray = ''
for consumer in pairs(by_consumer) do
  if not is_shard[consumer] then stray = consumer end
end
local reader, from, room = intake, '>', math.min(most, max_pending - total)
if stray ~= '' then reader, from, room = stray, '0', STRAYS end

-- 3. What was trimmed before anybody read it.
local stream, group_now = stream_info(input), group_info(input, group)
local last_seen = group_now['last-delivered-id']

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
local only_unread = not first or after(first, last_seen)
local added = stream['entries-added']
local accounted, lost, suspect = 0, 0, ''
if added then
  -- A group that was created on Redis 6.2, where nothing counts what was added, has no account.
  accounted = tonumber(redis.call('HGET', meta, 'entries_accounted')) or added
  if only_unread then lost = math.max(0, added - stream['length'] - accounted) end
elseif first and only_unread and last_seen ~= '0-0' then
  suspect = last_seen .. ' and ' .. first
end

-- 4. Read, and hand over in stream order. `new` are those that no shard was given before.
local routed, new, read = 0, 0, {}
if room > 0 then
  local reply = redis.call('XREADGROUP', 'GROUP', group, reader, 'COUNT', room,
    'STREAMS', input, from)
  for _, entry in ipairs(reply and reply[1][2] or {}) do
    if entry[2] then
      local shard = shard_of(entry[2], shards, max_bytes)
      read[shard] = read[shard] or {}
      table.insert(read[shard], entry)
      routed = routed + 1
      if from == '>' then last_seen = entry[1] end
    else
      -- Trimmed while a stray had it: it is missing from the account, or from its shard, and
      -- counted as lost there.
      redis.call('XACK', input, group, entry[1])
    end
  end
end
for shard, entries in pairs(read) do
  local consumer, ids = consumer_of(shard), {}
  for i, entry in ipairs(entries) do ids[i] = entry[1] end
  by_consumer[consumer] = (by_consumer[consumer] or 0) + #ids
  local grown = math.max(0, by_consumer[consumer] - outstanding[consumer])
  redis.call('HINCRBY', unfinished, consumer, grown)
  new = new + grown
  table.insert(ids, 'JUSTID')
  redis.call('XCLAIM', input, group, consumer, 0, unpack(ids))
end

-- 5. Keep account, and set right what `lag` is calculated from: Redis loses count when entries
--    are trimmed or deleted unread (seen on 7.0.15).
if added then
  local caught_up = from == '>' and room > routed
  if from ~= '>' then lost = 0 end
  if caught_up then lost = math.max(0, added - accounted - new) end
  -- Never more than there were, should somebody have set the group's position back.
  local accounted_now = math.min(accounted + new + lost, added)
  redis.call('HSET', meta, 'entries_accounted', accounted_now)
  if lost > 0 then redis.call('HINCRBY', counters, 'lost', lost) end
  if from == '>' and (group_now['entries-read'] ~= accounted or lost > 0) then
    redis.call('XGROUP', 'SETID', input, group, last_seen, 'ENTRIESREAD', accounted_now)
  end
end

-- 6. The oldest unfinished entries of the caller behind those it has in hand. With nothing in hand
--    that is from the start of each shard's pending list: what was finished is gone from it, so
--    there is no position to lose.
local heads, lengths, text, bytes = {}, {}, {}, 0

local function add(shard, entry)
  local fields = entry[2] or {}
  heads[#heads + 1] = shard
  heads[#heads + 1] = #fields
  text[#text + 1] = entry[1]
  lengths[#text] = #entry[1]
  for _, string in ipairs(fields) do
    text[#text + 1] = string
    lengths[#text] = #string
    bytes = bytes + #string
  end
end

local left = most
for _, one in ipairs(own) do
  local shard, last_in_hand, in_hand = one[1], one[2], one[3]
  local waiting = (by_consumer[consumer_of(shard)] or 0) - in_hand
  local wanted = math.min(waiting, left)
  if wanted > 0 and bytes < MOST_TEXT then
    local entries = read[shard]
    if not entries or #entries < waiting then
      entries = redis.call('XREADGROUP', 'GROUP', group, consumer_of(shard), 'COUNT', wanted,
        'STREAMS', input, last_in_hand)[1][2]
    end
    for i = 1, math.min(#entries, wanted) do
      if bytes >= MOST_TEXT then break end
      add(shard, entries[i])
      left = left - 1
    end
  end
end

-- A worker that must not route waits for entries newer than all there are.
return {routed, lost, room > 0 and last_seen or stream['last-generated-id'], suspect, stray,
  (redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)[1] or {'0-0'})[1], now_in_ms(),
  cmsgpack.pack(heads), cmsgpack.pack(lengths), table.concat(text)}
