-- Adds a batch of entries to a stream and stores the position of the feed: both or neither.
--
-- KEYS[1] stream   KEYS[2] position
-- ARGV[1] the position before the batch, '' for none   ARGV[2] the position after it
-- ARGV[3] the entries, each: the number of its strings (4 bytes, little-endian), then each string
--         preceded by its length (4 bytes): id or '*', name, value, name, value, ...
-- Returns {'fed'}, {'elsewhere', position found}, {'not an id', text},
--         {'not above', id of the entry, id that it must exceed} or {'refused', why}.
--
-- Protects G2 and G5. Sending the same batch again does nothing, so a lost reply is harmless: a
-- replay that is interrupted at any moment feeds every entry once. Redis does not undo what a
-- script wrote before it failed, so everything that could make Redis refuse an entry is checked
-- before the first one is added, and the position is written first.

local stream, position = KEYS[1], KEYS[2]
local before, after, batch = ARGV[1], ARGV[2], ARGV[3]
local GREATEST = '18446744073709551615' -- 2^64 - 1

local found = redis.call('GET', position) or ''
if found == after then return {'fed'} end
if found ~= before then return {'elsewhere', found} end

-- The two numbers of an id, as text: they may be larger than Lua can count. Nil if it is not an id.
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  if not ms then return nil end
  for _, number in ipairs({ms, seq}) do
    local is_canonical = number == '0' or string.sub(number, 1, 1) ~= '0'
    if not is_canonical or #number > #GREATEST then return nil end
    if #number == #GREATEST and number > GREATEST then return nil end
  end
  return ms, seq
end

local function is_above(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

local function comes_after(id, other)
  local ms, seq = parts(id)
  local other_ms, other_seq = parts(other)
  if ms ~= other_ms then return is_above(ms, other_ms) end
  return is_above(seq, other_seq)
end

-- 1. Read the whole batch, and check every id.
local last = '0-0'
if redis.call('EXISTS', stream) == 1 then last = stream_info(stream)['last-generated-id'] end
-- For '*' Redis counts on from here, so there must be room for a whole batch.
if parts(last) == GREATEST then return {'refused', 'the stream is at its greatest id: ' .. last} end

local entries, at = {}, 1
while at <= #batch do
  local count, entry
  count, at = struct.unpack('<I4', batch, at)
  entry = {}
  for i = 1, count do
    entry[i], at = struct.unpack('<I4c0', batch, at)
  end
  local id = entry[1]
  if id ~= '*' then
    if not parts(id) then return {'not an id', id} end
    if not comes_after(id, last) then return {'not above', id, last} end
    last = id
  end
  entries[#entries + 1] = entry
end

-- 2. Note the position, then add the entries. Redis refuses the first one or none.
redis.call('SET', position, after)
for i, entry in ipairs(entries) do
  local reply = redis.pcall('XADD', stream, unpack(entry))
  if type(reply) == 'table' and reply.err then
    if i > 1 then error('entry ' .. i .. ' of a batch was refused: ' .. reply.err) end
    if before == '' then redis.call('DEL', position) else redis.call('SET', position, before) end
    return {'refused', reply.err}
  end
end
return {'fed'}
