-- Acknowledges entries of a source that have been brought to their partitions, and counts them.
--
-- KEYS[1] source   KEYS[2] counters
-- ARGV[1] group   ARGV[2] a MessagePack array of ids   ARGV[3...] name, number, name, number, ...
-- Returns {'done'}.
--
-- Protects G5. Nobody need own the group for it: what is acknowledged is where it belongs already.

local source, counters = KEYS[1], KEYS[2]

redis.call('XACK', source, ARGV[1], unpack(cmsgpack.unpack(ARGV[2])))
for i = 3, #ARGV, 2 do count(counters, ARGV[i], tonumber(ARGV[i + 1])) end
return {'done'}
