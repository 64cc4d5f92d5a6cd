-- What Redis reports about the input stream and its group, as tables.
--
-- Not a script: it is prepended to the scripts that need it.

local function as_map(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

local function stream_info(stream) return as_map(redis.call('XINFO', 'STREAM', stream)) end

-- nil if the stream or the group does not exist.
local function group_info(stream, group)
  if redis.call('EXISTS', stream) == 0 then return nil end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = as_map(info)
    if fields.name == group then return fields end
  end
  return nil
end

-- How many entries are pending in total, and for each consumer that has any: as numbers, and as
-- text. From Redis 8.8 on, XNACK leaves entries that no consumer has: they count only in the total.
local function pending_entries(stream, group)
  local summary = redis.call('XPENDING', stream, group)
  local by_consumer, as_texts = {}, {}
  for _, pair in ipairs(summary[4] or {}) do
    by_consumer[pair[1]], as_texts[pair[1]] = tonumber(pair[2]), pair[2]
  end
  return summary[1], by_consumer, as_texts
end

-- How far restore.lua is with each consumer, from its field of meta; nothing if that is damaged.
local function progress_of_restoring(packed)
  local ok, found = pcall(cmsgpack.unpack, packed or '')
  return ok and type(found) == 'table' and found or {}
end

local ID = '^(%d+)%-(%d+)$'

local function is_id(text) return string.match(text or '', ID) ~= nil end

-- Whether the id `a` comes after `b`. Compared as text: a Lua number does not hold 64 bits.
local function after(a, b)
  local function above(x, y) return #x > #y or (#x == #y and x > y) end
  local a_ms, a_seq = string.match(a, ID)
  local b_ms, b_seq = string.match(b, ID)
  if a_ms ~= b_ms then return above(a_ms, b_ms) end
  return above(a_seq, b_seq)
end
