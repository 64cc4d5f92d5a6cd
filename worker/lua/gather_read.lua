-- Reads the next entries of many streams, through one group in each of them.
--
-- KEYS[1] owner   KEYS[2...] streams
-- ARGV[1] the caller's token   ARGV[2] group   ARGV[3] consumer   ARGV[4] maximum entries to return
-- ARGV[5...] for each stream two: '>', or the id after which its pending entries are returned; and
--            the last id that was read before
-- Returns {'read', the first stream, the second, ...} or {'not ours', owner found}. For each stream:
--         its entries, each {id, fields}, with 0 in place of the fields if it has been trimmed; and 1
--         if entries may have been trimmed before they were read, else 0. 0 alone if the stream has
--         no such group.
--
-- Protects G1 and G5. Only the process that was started last owns the group: before it reads anything, it
-- has read what the one before it left pending. So the entries of a stream keep their order.

local owner, token, group, consumer = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local left, bytes = tonumber(ARGV[4]), 0

local found = redis.call('GET', owner)
if found ~= token then return {'not ours', found or ''} end

-- Up to `most` entries of a stream in their order; nil if it has no such group.
local function entries_of(stream, from, most)
  local entries = {}
  while true do
    local wanted, before = next_step(most - #entries, MOST_BYTES - bytes), bytes
    if wanted == 0 then return entries end
    local read = redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', int(wanted),
      'STREAMS', stream, from)
    if read and read.err then
      if string.find(read.err, 'NOGROUP', 1, true) then return nil end
      error(read.err)
    end
    local some = read and read[1][2] or {}
    for _, entry in ipairs(some) do
      entry[2] = entry[2] or 0
      for _, part in ipairs(entry[2] ~= 0 and entry[2] or {}) do bytes = bytes + #part end
      table.insert(entries, entry)
    end
    note_read(#some, bytes - before)
    if #some < wanted then return entries end
    if from ~= '>' then from = some[#some][1] end
  end
end

-- Nothing is left of what was read before, so there may have been more that nobody has read.
local function may_lack(stream, entries, from, last)
  if from ~= '>' or last == '0-0' or #entries == 0 then return 0 end
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', '1')[1]
  return (not oldest or oldest[1] == entries[1][1]) and 1 or 0
end

local reply = {'read'}
for i = 2, #KEYS do
  -- What the streams before have not used is shared by those that follow.
  local share, from, last = math.ceil(left / (#KEYS - i + 1)), ARGV[2 * i + 1], ARGV[2 * i + 2]
  local entries = entries_of(KEYS[i], from, share)
  left = left - (entries and #entries or 0)
  reply[i] = entries and {entries, may_lack(KEYS[i], entries, from, last)} or 0
end
return reply
