-- Acknowledges entries of a source that have been brought to their partitions, and counts them.
--
-- KEYS[1] source   KEYS[2] counters   KEYS[3] owner
-- ARGV[1] group   ARGV[2] the caller's token   ARGV[3] a MessagePack array of ids; without any, it
--         only counts, also for a `gather` without partitions
-- ARGV[4...] name, number, name, number, ...
-- Returns {'done'} or {'not ours', owner found}.
--
-- Protects G5. A successor that serves other workers brings the same entries elsewhere. So only the
-- bridge that was started last may acknowledge.

local source, counters, owner = KEYS[1], KEYS[2], KEYS[3]
local ids = cmsgpack.unpack(ARGV[3])

local found = redis.call('GET', owner)
if found ~= ARGV[2] then return {'not ours', found or ''} end
if #ids > 0 then redis.call('XACK', source, ARGV[1], unpack(ids)) end
for i = 4, #ARGV, 2 do count(counters, ARGV[i], tonumber(ARGV[i + 1])) end
return {'done'}
