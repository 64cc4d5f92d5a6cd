-- Reads new input entries and routes each to the shard of its symbol.
--
-- It returns the oldest unfinished entries of the caller's own shards.
--
-- KEYS[1] input stream   KEYS[2] meta   KEYS[3] counters   KEYS[4] unfinished   KEYS[5] notices
-- KEYS[6] handed over   KEYS[7] commits
-- ARGV[1] group   ARGV[2] intake consumer   ARGV[3] maximum entries to route, and to return
-- ARGV[4] maximum entries that the group may have pending   ARGV[5] maximum bytes of a document
-- ARGV[6] number of partitions
-- ARGV[7] the caller's shards in the order in which to serve them: a MessagePack array of
--         {shard, id of its last entry in progress or '0', number of entries in progress}
-- ARGV[8...] the consumer of each shard, starting with shard 0
-- Returns {entries routed, entries found trimmed unread,
--          entries that had been counted as lost and were routed after all, last id seen,
--          two ids between which an unknown number of entries may have been trimmed or '',
--          the account in meta if it is unusable or '',
--          a consumer that held entries but is not a shard or '',
--          id of the last notice, id of the last entry of `handed over`,
--          Redis's time in ms, heads, lengths, text},
--      {'missing', shard, ...} if entries of these shards must first be restored,
--      or {'meta gone'}.
-- `heads` and `lengths` are MessagePack arrays of integers. `heads` has for each entry its shard
-- and the number of strings in its fields (names and values; 0 if it has been trimmed since). Of an
-- entry with a payload, only what schemas/candle.py reads is returned: the payload, the event type
-- unless it is the usual one, and when the candle was written. For a dead letter, entries.lua reads
-- all fields.
-- `lengths` has the length of each id and string. `text` is the concatenation of the ids and
-- strings, in some pieces: as separate replies, parsing them would take the client longer than all
-- its other work.
--
-- Protects G1, G5 and G8. Redis runs one script at a time, so no matter which worker routes, each
-- shard's pending list is in stream order, and the intake's is empty afterwards.

local input, meta, counters, unfinished, notices, handed_over, commits = unpack(KEYS)
local group, intake, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_pending, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local partitions, own = tonumber(ARGV[6]), cmsgpack.unpack(ARGV[7])
local shards = #ARGV - 7
local STRAYS = 500 -- entries of a stray consumer routed at once
local USUAL_TYPE = 'market.klines'
local STRINGS_IN_A_PIECE = 400

local function consumer_of(shard) return ARGV[8 + shard] end

-- If the last commit of a shard broke off, what is noted and what is pending may differ until it is
-- completed: then nothing is missing, and nothing came back.
local function has_open_commit(consumer)
  return string.find(redis.call('HGET', commits, consumer) or '', ':', 1, true) ~= nil
end

local function last_id(stream)
  return (redis.call('XREVRANGE', stream, '+', '-', 'COUNT', '1')[1] or {'0-0'})[1]
end

-- 1. Missing entries were routed to a shard but are neither pending nor finished: the consumer was
--    deleted, or someone claimed or acknowledged them by hand. Nothing newer may overtake them.
local known = as_map(redis.call('HGETALL', meta))
if not known.settings then return {'meta gone'} end
local last_notice, last_word = last_id(notices), last_id(handed_over)
local total, by_consumer, as_texts = pending_entries(input, group)
local noted = as_map(redis.call('HGETALL', unfinished))
local restoring = known.restoring and progress_of_restoring(known.restoring) or {}
local missing, is_shard, surplus = {'missing'}, {}, {}
for shard = 0, shards - 1 do
  local consumer = consumer_of(shard)
  local handed = noted[consumer] or '0'
  is_shard[consumer] = true
  if restoring[consumer] then
    table.insert(missing, shard)
  elseif handed ~= (as_texts[consumer] or '0') and not has_open_commit(consumer) then
    local pending = by_consumer[consumer] or 0
    handed = integer(handed)
    if not handed or handed > pending then
      table.insert(missing, shard)
    else
      surplus[consumer] = pending - handed
    end
  end
end
if #missing > 1 then return missing end

-- 2. More may be pending for a shard than were routed to it: another program read from the group
--    under the shard's name, or it read entries with NOACK and they have been restored. They may
--    have been counted as lost before.
local returned = 0
for consumer, entries in pairs(surplus) do
  noted[consumer] = int(by_consumer[consumer] or 0)
  redis.call('HSET', unfinished, consumer, noted[consumer])
  returned = returned + entries
end

-- 3. A stray consumer (another program read from the group) holds entries older than everything
--    unread, so they are routed first. So are entries that no consumer has; the intake claims them.
local stray, of_nobody = '', total
for consumer, pending in pairs(by_consumer) do
  of_nobody = of_nobody - pending
  if not is_shard[consumer] then stray = consumer end
end
if stray == '' and of_nobody > 0 then
  local from, ids = '-', {}
  repeat
    local rows = redis.call('XPENDING', input, group, from, '+', int(STRAYS))
    for _, row in ipairs(rows) do
      if row[2] == '' and #ids < STRAYS then table.insert(ids, row[1]) end
    end
    if #rows > 0 then from = '(' .. rows[#rows][1] end
  until #rows < STRAYS or #ids == STRAYS
  if #ids > 0 then
    stray = intake
    table.insert(ids, 'JUSTID')
    redis.call('XCLAIM', input, group, intake, '0', unpack(ids))
  end
end
local reader, from, room = intake, '>', math.min(most, max_pending - total)
if stray ~= '' then reader, from, room = stray, '0', STRAYS end

-- 4. Find entries that were trimmed before anyone read them.
local stream, group_now = stream_info(input), group_info(input, group)
local last_seen = group_now['last-delivered-id']

-- `account` counts every entry up to the last one read: either routed, or trimmed unread. If the
-- stream holds no entry that was read, all that it holds is unread, and the entries missing in
-- between were trimmed. The account is unknown if the group was created on Redis 6.2, which does
-- not count added entries, or if meta was damaged. Then nothing counts as lost until it is known.
local first = stream['first-entry'] and stream['first-entry'][1]
local only_unread = not first or after(first, last_seen)
local added = stream['entries-added']
local account = added and integer(known.entries_accounted or '')
if account and account > added then account = nil end
local unknown, suspect = '', ''
if added and not account then
  unknown = known.entries_accounted and '"' .. known.entries_accounted .. '"' or 'missing'
end
if not account and first and only_unread and last_seen ~= '0-0' then
  suspect = last_seen .. ' and ' .. first
end
if account then
  account = account + returned
elseif added and only_unread and from == '>' then
  account = added - stream['length']
end

-- 5. Read, and route in stream order.
local routed, read, caught_up, bytes = 0, {}, false, 0
while not caught_up do
  local wanted = next_step(room - routed, MOST_BYTES - bytes)
  if wanted == 0 then break end
  local reply = redis.call('XREADGROUP', 'GROUP', group, reader, 'COUNT', int(wanted),
    'STREAMS', input, from)
  local entries, before = reply and reply[1][2] or {}, bytes
  for _, entry in ipairs(entries) do
    if from ~= '>' then from = entry[1] end
    if entry[2] then
      local shard, size = shard_of(entry[2], shards, partitions, max_bytes)
      read[shard] = read[shard] or {}
      table.insert(read[shard], entry)
      routed, bytes = routed + 1, bytes + size
      if from == '>' then last_seen = entry[1] end
    else
      -- It was trimmed while a stray consumer had it: it is missing from `account` or from its
      -- shard, and is counted as lost there.
      redis.call('XACK', input, group, entry[1])
    end
  end
  note_read(#entries, bytes - before)
  caught_up = #entries < wanted
end
local is_own, for_others = {}, false
for _, one in ipairs(own) do is_own[one[1]] = true end
for shard, entries in pairs(read) do
  local consumer, ids = consumer_of(shard), {}
  for i, entry in ipairs(entries) do ids[i] = entry[1] end
  by_consumer[consumer] = (by_consumer[consumer] or 0) + #ids
  -- In this order: if Redis refuses one of them, the next call finds these entries with the intake,
  -- or in step 2, and adds them to the account. A damaged number is left to restore.lua.
  local before = integer(noted[consumer] or '0')
  table.insert(ids, 'JUSTID')
  redis.call('XCLAIM', input, group, consumer, '0', unpack(ids))
  if before then redis.call('HSET', unfinished, consumer, int(before + #entries)) end
  for_others = for_others or not is_own[shard]
end

-- 6. Update the account, and correct what Redis calculates `lag` from: it loses count when entries
--    are trimmed or deleted unread (seen on 7.0.15). Newer versions refuse to load a group whose
--    count is above `added`.
local lost, back = 0, 0
if added then
  local all_read = caught_up and from == '>'
  local came_back = (integer(known.came_back or '0') or 0) + returned
  if account then
    account = account + routed
    if all_read then
      lost = math.max(0, added - account)
    elseif only_unread and from == '>' then
      lost = math.max(0, added - stream['length'] - (account - routed))
    end
    account = account + lost
    back = math.max(0, math.min(account - added, came_back))
    account, came_back = account - back, came_back - back
    if account > added then account = nil end -- someone has set the group's position back
  end
  if all_read then account, came_back = added, 0 end
  if account then
    redis.call('HSET', meta, 'entries_accounted', int(account))
  elseif known.entries_accounted then
    redis.call('HDEL', meta, 'entries_accounted')
  end
  if int(came_back) ~= (known.came_back or '0') then
    redis.call('HSET', meta, 'came_back', int(came_back))
  end
  if lost ~= back then count(counters, 'lost', lost - back) end
  if from == '>' then
    local standing = group_now['entries-read']
    if routed > 0 then standing = group_info(input, group)['entries-read'] end
    if (standing or nil) ~= account then
      local entries_read = account and int(account) or '-1'
      redis.call('XGROUP', 'SETID', input, group, last_seen, 'ENTRIESREAD', entries_read)
    end
  end
end

-- 7. Wake the other workers: one that was not allowed to route waits for entries newer than any
--    that exist, and these are older.
if for_others then
  last_word = redis.call('XADD', handed_over, 'MAXLEN', '1', '*', 'entries', int(routed))
end

-- 8. The caller's oldest unfinished entries after those in progress. With nothing in progress, that
--    is the start of each shard's pending list: finished entries have left it, so there is no
--    position to lose.
local heads, lengths, text, left = {}, {}, {}, most
bytes = 0

local function add(shard, entry)
  local fields, at = entry[2] or {}, #text + 1
  local before, has_payload, event_type = at, false, USUAL_TYPE
  for i = 1, #fields, 2 do
    local name = fields[i]
    has_payload = has_payload or name == 'payload'
    if name == 'event_type' then event_type = fields[i + 1] end
  end
  text[at], lengths[at] = entry[1], #entry[1]
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    bytes = bytes + #name + #value
    if not has_payload or name == 'payload' or name == 'written_ms'
      or (name == 'event_type' and event_type ~= USUAL_TYPE) then
      text[at + 1], lengths[at + 1] = name, #name
      text[at + 2], lengths[at + 2] = value, #value
      at = at + 2
    end
  end
  heads[#heads + 1] = shard
  heads[#heads + 1] = at - before
  left = left - 1
end

for _, one in ipairs(own) do
  local shard, last_in_hand, in_hand = one[1], one[2], one[3]
  local waiting = (by_consumer[consumer_of(shard)] or 0) - in_hand
  local entries = read[shard]
  if entries and #entries >= waiting then
    for i = 1, math.min(waiting, left) do
      if bytes >= MOST_BYTES then break end
      add(shard, entries[i])
    end
  else
    while waiting > 0 do
      local wanted = next_step(math.min(waiting, left), MOST_BYTES - bytes)
      if wanted == 0 then break end
      local before = bytes
      entries = redis.call('XREADGROUP', 'GROUP', group, consumer_of(shard), 'COUNT', int(wanted),
        'STREAMS', input, last_in_hand)[1][2]
      for _, entry in ipairs(entries) do add(shard, entry) end
      note_read(#entries, bytes - before)
      if #entries < wanted then break end
      waiting, last_in_hand = waiting - #entries, entries[#entries][1]
    end
  end
end

-- Lua hashes what it concatenates, byte by byte; a piece of more than 8 kB several times.
local pieces = {}
for first = 1, #text, STRINGS_IN_A_PIECE do
  local last = math.min(first + STRINGS_IN_A_PIECE - 1, #text)
  table.insert(pieces, table.concat(text, '', first, last))
end

-- A worker that may not route waits for entries newer than any that exist.
return {routed, lost, back, room > 0 and last_seen or stream['last-generated-id'], suspect, unknown,
  stray, last_notice, last_word, now_in_ms(), cmsgpack.pack(heads), cmsgpack.pack(lengths),
  pieces}
