-- Reads entries of the input stream by their ids, with all of their fields.
--
-- KEYS[1] input stream
-- ARGV[1...] ids
-- Returns an array with {id, fields} for each id, or nil for one that has been trimmed.
--
-- Protects G5: a dead letter has what its entry had, also the fields that no reader needs.

local found = {}
for i, id in ipairs(ARGV) do found[i] = redis.call('XRANGE', KEYS[1], id, id)[1] or false end
return found
