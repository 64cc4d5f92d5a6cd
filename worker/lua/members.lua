-- The members of a group: parses a worker's entry, and tells whether the worker is live.
--
-- They are a hash, worker id -> '<last seen, ms>:<lease time, ms>:<incarnation>'. This is not a
-- script: it is inserted after clock.lua and before the scripts that need it. Each member is judged
-- by its own lease time. A member seen in the future (after a clock was set back, or a failover)
-- would count as live for too long, so only the distance counts.

-- For how many ms it is still live (below 0 if it is dead), how long it has been silent, and its
-- incarnation.
local function member(entry, now_ms)
  local seen_ms, lease_ms, incarnation = string.match(entry, '^(%d+):(%d+):(.*)$')
  if not seen_ms then return -1, now_ms, '' end
  local silent_ms = math.abs(now_ms - tonumber(seen_ms))
  return tonumber(lease_ms) - silent_ms, silent_ms, incarnation
end
