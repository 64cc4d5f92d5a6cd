-- Appends entries to the stream of a partition, and notes how far its source has been brought there.
--
-- KEYS[1] stream of the partition   KEYS[2] positions: a hash with the last id of each source
-- ARGV[1] the field of the source   ARGV[2] its last id: what follows has not been brought here
-- ARGV[3] maximum entries of the stream, '' for no limit
-- ARGV[4] a MessagePack array of the fields of each entry
-- ARGV[5] the position that the caller knows, '' for none
-- Returns {'written'}, {'elsewhere', position found} or {'wrong type', key, its type}.
--
-- Protects G1 and G5. The position is noted last: if Redis refuses a command half-way, the entries come
-- again. Both go back together if Redis goes back to older data; then nothing is appended, because what
-- is missing must come first.

local stream, positions = KEYS[1], KEYS[2]
local source, position, maxlen = ARGV[1], ARGV[2], ARGV[3]

for key, wanted in pairs({[stream] = 'stream', [positions] = 'hash'}) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then return {'wrong type', key, kind} end
end
local found = redis.call('HGET', positions, source) or ''
if found ~= ARGV[5] then return {'elsewhere', found} end
for _, fields in ipairs(cmsgpack.unpack(ARGV[4])) do
  if maxlen == '' then
    redis.call('XADD', stream, '*', unpack(fields))
  else
    redis.call('XADD', stream, 'MAXLEN', '~', maxlen, '*', unpack(fields))
  end
end
redis.call('HSET', positions, source, position)
return {'written'}
