-- How many entries a script may read next: commands limit their number, not their size.
--
-- Not a script: it is prepended to the scripts that need it. A thousand entries of 200 kB, read at
-- once, block Redis for a second. So a script reads a few entries first, then as many as fit by the
-- average size so far, but not so many that a run of small entries misleads it.

local MOST_BYTES = 8 * 1024 * 1024 -- after these, a script reads or returns no further entry
local FIRST_STEP, GROWTH = 16, 8
local read_so_far, bytes_so_far = 0, 0

local function note_read(entries, bytes)
  read_so_far, bytes_so_far = read_so_far + entries, bytes_so_far + bytes
end

-- 0 if none is wanted, or no bytes are left.
local function next_step(wanted, bytes_left)
  if wanted <= 0 or bytes_left <= 0 then return 0 end
  if read_so_far == 0 then return math.min(wanted, FIRST_STEP) end
  local fitting = math.floor(bytes_left * read_so_far / math.max(bytes_so_far, 1))
  return math.max(1, math.min(wanted, fitting, read_so_far * GROWTH))
end
