-- Adds a batch of entries to a stream and stores the position of the feed: both or neither.
--
-- KEYS[1] stream   KEYS[2] position
-- ARGV[1] the position before the batch, '' for none   ARGV[2] the position after it
-- ARGV[3] the entries, each: the number of its strings (4 bytes, little-endian), then each string
--         preceded by its length (4 bytes): id or '*', name, value, name, value, ...
-- Returns {'fed'}, {'elsewhere', position found} or {'refused', why}.
--
-- Protects G2 and G5. Sending the same batch again does nothing, so a lost reply is harmless: a
-- replay that is interrupted at any moment feeds every entry once. Ids ascend within a batch, so if
-- Redis accepts the first entry, it accepts them all.

local stream, position = KEYS[1], KEYS[2]
local before, after, batch = ARGV[1], ARGV[2], ARGV[3]

local found = redis.call('GET', position) or ''
if found == after then return {'fed'} end
if found ~= before then return {'elsewhere', found} end

local at = 1
while at <= #batch do
  local count, entry
  count, at = struct.unpack('<I4', batch, at)
  entry = {}
  for i = 1, count do
    entry[i], at = struct.unpack('<I4c0', batch, at)
  end
  local reply = redis.pcall('XADD', stream, unpack(entry))
  if type(reply) == 'table' and reply.err then return {'refused', reply.err} end
end
redis.call('SET', position, after)
return {'fed'}
