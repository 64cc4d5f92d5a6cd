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
local MOST_AT_ONCE = 1024 * 1024 -- bytes; a caller who wants to know more comes again
local count, bytes, ended = 0, 0, 0

local step = next_step(most, MOST_AT_ONCE)
repeat
  local entries = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', int(step))
  local bytes_of_step = 0
  for _, entry in ipairs(entries) do
    last = entry[1]
    for _, text in ipairs(entry[2]) do bytes_of_step = bytes_of_step + #text end
  end
  note_read(#entries, bytes_of_step)
  count, bytes = count + #entries, bytes + bytes_of_step
  if #entries < step then ended = 1 end
  step = next_step(most - count, MOST_AT_ONCE - bytes)
until ended == 1 or step < 1
return {count, last, ended}
