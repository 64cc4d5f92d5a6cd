-- Reads everything that Redis stores about a shard, for the worker that has just taken it.
--
-- KEYS[1] marks of the shard   ARGV[1] prefix of all window keys
-- Returns {symbol, last emitted close time, packed window, symbol, ...}.
--
-- Protects G6: there is one round trip per shard, and each window is one string. As lists of
-- candles, ten thousand windows would be three million replies for the client to parse. The window
-- keys are not declared: they follow from the marks, and a group cannot run on a cluster anyway,
-- because its scripts span all its keys.

local found = {}
local marks = redis.call('HGETALL', KEYS[1])
for i = 1, #marks, 2 do
  table.insert(found, marks[i])
  table.insert(found, marks[i + 1])
  table.insert(found, table.concat(redis.call('LRANGE', ARGV[1] .. marks[i], 0, -1)))
end
return found
