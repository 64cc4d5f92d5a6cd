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

-- How many entries are pending in total, and for each consumer that has any.
local function pending_entries(stream, group)
  local summary = redis.call('XPENDING', stream, group)
  local by_consumer = {}
  for _, pair in ipairs(summary[4] or {}) do by_consumer[pair[1]] = tonumber(pair[2]) end
  return summary[1], by_consumer
end
