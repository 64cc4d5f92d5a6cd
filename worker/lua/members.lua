-- The members of a group: what each worker's entry says of it, and whether it still lives.
--
-- A hash, worker id -> '<last seen, ms>:<lease time, ms>:<incarnation>'. No script of its own: put
-- behind clock.lua and before those that need it. Each member is judged by its own lease time; one
-- seen in the future (a clock set back, a failover) would live for long, so only the distance
-- counts.

-- Whether it lives, how long it has been silent, and its incarnation.
local function member(entry, now_ms)
  local seen_ms, lease_ms, incarnation = string.match(entry, '^(%d+):(%d+):(.*)$')
  if not seen_ms then return false, now_ms, '' end
  local silent_ms = math.abs(now_ms - tonumber(seen_ms))
  return silent_ms <= tonumber(lease_ms), silent_ms, incarnation
end
