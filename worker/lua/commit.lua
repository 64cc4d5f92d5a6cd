-- Makes one batch visible: windows, states, outputs, dead letters, marks and acknowledgements.
--
-- KEYS[1] input stream   KEYS[2] output stream   KEYS[3] dead-letter stream   KEYS[4] counters
-- KEYS[5] unfinished   KEYS[6] finished ids
-- KEYS[7...] lease and marks of each shard in the plan, then window and state of each symbol
-- ARGV[1] group   ARGV[2] the plan, a MessagePack map:
--   shards     array of {token, consumer, {symbol, emission mark, ...},
--              {entry id, ...} in stream order}; the time is appended to a mark that ends in ':'
--   symbols    array of {{packed close, ...}, {field, value, ...} of the state, may be empty,
--              whether these closes replace the window}
--   outputs    array of {field, value, ...}       dead      array of {field, value, ...}
--   counters   {name, increment, ...}             window_size, state_ttl_ms,
--   output_maxlen, dead_maxlen
-- Returns {'done', Redis's time in ms}, {'lease lost', index in shards, ...},
--      {'wrong type', key, its type}
--      or {'damaged', {index in symbols, key of that symbol, its type}, ...}.
--
-- Protects G3 and G4. Redis runs a script atomically, but does not roll back one that fails
-- half-way. So everything that can fail is checked before the first write, and the first write is
-- one that a full Redis refuses.

local input, output, dead, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local unfinished, finished_ids = KEYS[5], KEYS[6]
local group, plan = ARGV[1], cmsgpack.unpack(ARGV[2])
local CHUNK = 1000 -- Lua limits a call to a few thousand arguments

local function shard_keys(i) return KEYS[5 + 2 * i], KEYS[6 + 2 * i] end
local function symbol_keys(i)
  local base = 5 + 2 * #plan.shards + 2 * i
  return KEYS[base], KEYS[base + 1]
end

local function in_chunks(values, call)
  for from = 1, #values, CHUNK do
    call(unpack(values, from, math.min(from + CHUNK - 1, #values)))
  end
end

-- 1. Every lease must still be held.
local lost = {'lease lost'}
for i, shard in ipairs(plan.shards) do
  if redis.call('GET', (shard_keys(i))) ~= shard[1] then table.insert(lost, i - 1) end
end
if #lost > 1 then return lost end

-- 2. The group must exist (XPENDING fails if not), and every key must have its type or be absent.
redis.call('XPENDING', input, group)
local wrong
local function expect(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted then wrong = wrong or {'wrong type', key, found} end
end
expect(input, 'stream')
expect(output, 'stream')
expect(dead, 'stream')
expect(counters, 'hash')
expect(unfinished, 'hash')
expect(finished_ids, 'hash')
for i = 1, #plan.shards do
  local _, marks = shard_keys(i)
  expect(marks, 'hash')
end
for i = 1, #plan.counters, 2 do
  local count = not wrong and redis.call('HGET', counters, plan.counters[i])
  if count and not string.match(count, '^-?%d+$') then
    wrong = {'wrong type', counters, 'hash whose ' .. plan.counters[i] .. ' is not a number'}
  end
end
if wrong then return wrong end

-- What is wrong with the keys of a symbol is its own affair: the others go on without it (G9).
local damaged = {'damaged'}
local function expect_of_symbol(i, key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted then table.insert(damaged, {i - 1, key, found}) end
end
for i = 1, #plan.symbols do
  local window, state = symbol_keys(i)
  expect_of_symbol(i, window, 'list')
  expect_of_symbol(i, state, 'hash')
end
if #damaged > 1 then return damaged end

-- 3. Windows and states.
for i, symbol in ipairs(plan.symbols) do
  local window, state = symbol_keys(i)
  if symbol[3] then redis.call('DEL', window) end
  in_chunks(symbol[1], function(...) redis.call('RPUSH', window, ...) end)
  redis.call('LTRIM', window, -plan.window_size, -1)
  if #symbol[2] > 0 then
    redis.call('HSET', state, unpack(symbol[2]))
    redis.call('PEXPIRE', state, plan.state_ttl_ms)
  end
end

-- 4. Outputs and dead letters. Exact trimming (without '~') would cost three times as much.
for _, fields in ipairs(plan.outputs) do
  redis.call('XADD', output, 'MAXLEN', '~', plan.output_maxlen, '*', unpack(fields))
end
for _, fields in ipairs(plan.dead) do
  redis.call('XADD', dead, 'MAXLEN', '~', plan.dead_maxlen, '*', unpack(fields))
end

-- 5. Counters, marks, and the position of each shard. The time is taken after the outputs were
--    added, so that by the wall clock a symbol's interval never starts before its entry.
local now_ms = now_in_ms()
for i = 1, #plan.counters, 2 do
  redis.call('HINCRBY', counters, plan.counters[i], plan.counters[i + 1])
end
for i, shard in ipairs(plan.shards) do
  local _, marks = shard_keys(i)
  for j = 2, #shard[3], 2 do
    if string.sub(shard[3][j], -1) == ':' then shard[3][j] = shard[3][j] .. now_ms end
  end
  in_chunks(shard[3], function(...) redis.call('HSET', marks, ...) end)
  if #shard[4] > 0 then
    redis.call('HINCRBY', unfinished, shard[2], -#shard[4])
    redis.call('HSET', finished_ids, shard[2], shard[4][#shard[4]])
  end
end

-- 6. The acknowledgement comes last.
for _, shard in ipairs(plan.shards) do
  in_chunks(shard[4], function(...) redis.call('XACK', input, group, ...) end)
end
return {'done', now_ms}
