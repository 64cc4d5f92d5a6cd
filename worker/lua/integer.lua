-- Integers as Redis's commands write and accept them.
--
-- Not a script: it is prepended to the scripts that need it.

-- As text. Every number goes through this before it reaches a command, because Redis 7.2.4 turns a
-- Lua number that is a multiple of 10^8 into `1e+8`.
local function int(number) return string.format('%.0f', number) end

-- The number in `text`; nil unless it is written as Redis writes integers, the only form that
-- HINCRBY accepts, and small enough for Lua to hold it exactly.
local function integer(text)
  local number = tonumber(text)
  if not number or math.abs(number) > 2 ^ 53 or int(number) ~= text or text == '-0' then
    return nil
  end
  return number
end

-- Adds to a counter of the hash `counters`, which never falls below 0. If its value is damaged, it
-- starts again at 0, and the old value is kept as `<name>.damaged`. Returns that value, or nil.
local function count(counters, name, increment)
  local found = redis.call('HGET', counters, name) or '0'
  local before = integer(found)
  if not before then redis.call('HSET', counters, name .. '.damaged', found) end
  redis.call('HSET', counters, name, int(math.max(0, (before or 0) + increment)))
  return not before and found or nil
end
