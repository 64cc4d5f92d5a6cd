-- Reads all that Redis remembers of a shard, for the worker that has just taken it.
--
-- KEYS[1] marks of the shard   ARGV[1] what the name of every window key starts with
-- Returns {symbol, last emitted close time, packed window, symbol, ...}.
--
-- Protects G6: one round trip per shard, and a window as one string of all its candles. As a list
-- of candles, ten thousand windows would take the client three million replies to parse. The
-- window keys are not declared: they follow from the marks, and a group, whose scripts span all
-- its keys, cannot live in a cluster anyway.

local found = {}
local marks = redis.call('HGETALL', KEYS[1])
for i = 1, #marks, 2 do
  table.insert(found, marks[i])
  table.insert(found, marks[i + 1])
  table.insert(found, table.concat(redis.call('LRANGE', ARGV[1] .. marks[i], 0, -1)))
end
return found
