-- Reads what Redis has of a shard's symbols, and names keys that a worker could not use.
--
-- KEYS[1] marks of the shard   KEYS[2] quarantine
-- ARGV[1] what the name of every window key starts with   ARGV[2] the same of every state
-- ARGV[3] the same of every record   ARGV[4] most candles of a window
-- ARGV[5...] symbols to read
-- Returns {{symbol, mark or nil, packed window, symbol, ...},
--          {symbol, key, what it holds instead, symbol, ...}};
--      or, if no symbols are given, {{symbol, its mark, ...} of all that have one,
--          {symbol, why it is set aside, ...} of the whole group, if the quarantine is a hash}.
--
-- Protects G6 and G9. A window is one string of all its candles: as a list of candles, ten thousand
-- windows would take the client three million replies to parse.
-- The keys of symbols are not declared: they follow from the marks. In a cluster they are where the
-- declared ones are, because all keys of a partition have the same tag.

local marks, quarantine = KEYS[1], KEYS[2]
local window_prefix, state_prefix, record_prefix, most = unpack(ARGV, 1, 4)
local FIRST_SYMBOL = 5
local CANDLE = 16 -- bytes

local function wrong_type(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted then return found end
end

if #ARGV < FIRST_SYMBOL then
  -- The quarantine is for people: if somebody has overwritten it, the group goes on.
  local noted = wrong_type(quarantine, 'hash') and {} or redis.call('HGETALL', quarantine)
  return {redis.call('HGETALL', marks), noted}
end

local found, damaged = {}, {}
for i = FIRST_SYMBOL, #ARGV do
  local symbol = ARGV[i]
  local window, state = window_prefix .. symbol, state_prefix .. symbol
  local record = record_prefix .. symbol
  local key, holds, packed = window, wrong_type(window, 'list'), ''
  if not holds then
    key, holds = state, wrong_type(state, 'hash')
  end
  if not holds then
    key, holds = record, wrong_type(record, 'string')
  end
  if not holds then
    local candles = redis.call('LRANGE', window, '-' .. most, -1)
    packed = table.concat(candles)
    if #packed ~= CANDLE * #candles then
      key, holds, packed = window, 'list of something other than candles', ''
    end
  end
  local mark = redis.call('HGET', marks, symbol)
  for _, part in ipairs({symbol, mark, packed}) do found[#found + 1] = part end
  if holds then
    for _, part in ipairs({symbol, key, holds}) do damaged[#damaged + 1] = part end
  end
end
return {found, damaged}
