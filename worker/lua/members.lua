-- The members of a group: parses a worker's entry, and tells whether the worker is live.
--
-- They are a hash, worker id -> '<last seen, ms>:<lease time, ms>:<incarnation>'. This is not a
-- script: it is prepended, after clock.lua, to the scripts that need it. Each member is judged by its
-- own lease time. A member seen in the future (after a clock was set back, or a failover)
-- would count as live for too long, so only the distance counts.

-- For how many ms it is still live (below 0 if it is dead), how long it has been silent, and its
-- incarnation.
local function member(entry, now_ms)
  local seen_ms, lease_ms, incarnation = string.match(entry, '^(%d+):(%d+):(.*)$')
  if not seen_ms then return -1, now_ms, '' end
  local silent_ms = math.abs(now_ms - tonumber(seen_ms))
  return tonumber(lease_ms) - silent_ms, silent_ms, incarnation
end

-- The id of a live worker that publishes to the same keys as this group, but has the other source
-- of prices: synthetic ones and real ones must never be mixed. nil if there is none. `members` and
-- `meta` are those of the other source, `settings` are ours; see shared_settings in engine/group.py.
local function member_of_other_source(members, meta, settings, now_ms)
  local function outputs(text)
    return string.match(text, ' output_prefix=(%S+) output_stream=(%S+)')
  end
  local theirs = redis.pcall('HGET', meta, 'settings')
  if type(theirs) ~= 'string' then return nil end
  local prefix, stream = outputs(settings)
  local their_prefix, their_stream = outputs(theirs)
  if prefix ~= their_prefix and stream ~= their_stream then return nil end
  local all = redis.pcall('HGETALL', members)
  for i = 1, #all, 2 do
    if member(all[i + 1], now_ms) >= 0 then return all[i] end
  end
  return nil
end
