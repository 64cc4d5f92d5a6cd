-- Appends gathered candles to one stream, and acknowledges the entries that they came from.
--
-- KEYS[1] owner   KEYS[2] target   KEYS[3] dead-letter stream   KEYS[4] counters
-- KEYS[5] exchanges   KEYS[6...] streams that entries are acknowledged in
-- ARGV[1] the caller's token   ARGV[2] group
-- ARGV[3] maximum entries of the target, '' for no limit   ARGV[4] of the dead-letter stream
-- ARGV[5] a MessagePack map, all of it text:
--   candles     array of the fields of each entry to append
--   dead        the same for dead letters
--   finished    array of the ids to acknowledge, for each stream
--   counts      name, number, name, number, ...
--   exchanges   symbol, exchange, symbol, exchange, ...
-- Returns {'written'}, {'not ours', owner found} or {'wrong type', key, its type}.
--
-- Protects G3 and G5. Candles are appended and their entries acknowledged in one step, so a crash
-- neither loses nor repeats one. If Redis refuses a command half-way, what follows is not done: the
-- entries are still pending and come again, and the workers drop the second copy as a duplicate.

local owner, target, dead, counters, exchanges = unpack(KEYS)
local token, group, maxlen, dead_maxlen = unpack(ARGV)
local plan = cmsgpack.unpack(ARGV[5])

local found = redis.call('GET', owner)
if found ~= token then return {'not ours', found or ''} end
for key, wanted in pairs({
  [target] = 'stream', [dead] = 'stream', [counters] = 'hash', [exchanges] = 'hash',
}) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then return {'wrong type', key, kind} end
end

local function add(stream, limit, fields)
  if limit == '' then return redis.call('XADD', stream, '*', unpack(fields)) end
  return redis.call('XADD', stream, 'MAXLEN', '~', limit, '*', unpack(fields))
end

for _, fields in ipairs(plan.candles) do add(target, maxlen, fields) end
for _, fields in ipairs(plan.dead) do add(dead, dead_maxlen, fields) end
for i = 1, #plan.exchanges, 2 do
  redis.call('HSET', exchanges, plan.exchanges[i], plan.exchanges[i + 1])
end
for i = 1, #plan.counts, 2 do count(counters, plan.counts[i], tonumber(plan.counts[i + 1])) end
for i, ids in ipairs(plan.finished) do
  if #ids > 0 then redis.call('XACK', KEYS[5 + i], group, unpack(ids)) end
end
return {'written'}
