-- Reads what Redis has of a shard's symbols, and names keys that a worker could not use.
--
-- KEYS[1] marks of the shard   KEYS[2] quarantine
-- ARGV[1] what the name of every window key starts with   ARGV[2] the same of every state
-- ARGV[3] the same of every record
-- ARGV[4] most candles of a window   ARGV[5] most symbols to read at once
-- ARGV[6...] symbols to read; without any, all that have a mark
-- Returns {{symbol, mark or nil, packed window, symbol, ...},
--          {symbol, key, what it holds instead, symbol, ...},
--          {symbol, why it is set aside, ...} of the whole group, if no symbols are given and the
--          quarantine is a hash,
--          {symbol that is still to be read, ...}}.
--
-- Protects G6 and G9. A shard takes few round trips, none of which stops Redis for long, and a window
-- is one string of all its candles: as a list of candles, ten thousand windows would take the client
-- three million replies to parse.
-- The keys of symbols are not declared: they follow from the marks. In a cluster they are where the
-- declared ones are, because all keys of a partition have the same tag.

local marks, quarantine = KEYS[1], KEYS[2]
local window_prefix, state_prefix, record_prefix = ARGV[1], ARGV[2], ARGV[3]
local most, at_once = ARGV[4], tonumber(ARGV[5])
local CANDLE = 16 -- bytes

local function wrong_type(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted then return found end
end

local found, damaged, rest = {}, {}, {}
local function read(symbol, mark)
  if #found == 3 * at_once then
    rest[#rest + 1] = symbol
    return
  end
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
  for _, part in ipairs({symbol, mark, packed}) do found[#found + 1] = part end
  if holds then
    for _, part in ipairs({symbol, key, holds}) do damaged[#damaged + 1] = part end
  end
end

if #ARGV > 5 then
  for i = 6, #ARGV do read(ARGV[i], redis.call('HGET', marks, ARGV[i])) end
  return {found, damaged, {}, rest}
end
local all = redis.call('HGETALL', marks)
for i = 1, #all, 2 do read(all[i], all[i + 1]) end
-- The quarantine is for people: if somebody has overwritten it, the group goes on.
local noted = wrong_type(quarantine, 'hash') and {} or redis.call('HGETALL', quarantine)
return {found, damaged, noted, rest}
