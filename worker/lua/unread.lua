-- Counts the entries of a stream after an id, up to a limit.
--
-- Redis 6.2 has no `lag`, and Redis 7 may not know it.
--
-- KEYS[1] stream   ARGV[1] id   ARGV[2] most entries to count
-- Returns {entries counted, id of the last one counted, 1 if nothing comes after it, otherwise 0}.
--
-- Protects G8. One call reads a limited number of entries and bytes, so that it does not block other
-- clients for long; a caller who needs more calls again.

local stream, last, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local FIRST, MOST_BYTES = 16, 1024 * 1024
local count, bytes, ended = 0, 0, 0

local step = math.min(FIRST, most)
repeat
  local entries = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', string.format('%d', step))
  count = count + #entries
  for _, entry in ipairs(entries) do
    last = entry[1]
    for _, text in ipairs(entry[2]) do bytes = bytes + #text end
  end
  if #entries < step then ended = 1 end
  -- As many as are likely to fit, should they be like those before them.
  local fit = (MOST_BYTES - bytes) * count / math.max(1, bytes)
  step = math.floor(math.min(most - count, fit))
until ended == 1 or step < 1
return {count, last, ended}
