-- Counts the entries of a stream after an id: Redis 6.2 has no `lag`, and Redis 7 may not know it.
--
-- KEYS[1] stream   ARGV[1] id
-- Returns the number of entries. Only for status commands; workers do not use it.

local count, after = 0, ARGV[1]
repeat
  local entries = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', '1000')
  count = count + #entries
  if #entries > 0 then after = entries[#entries][1] end
until #entries < 1000
return count
