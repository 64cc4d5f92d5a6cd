-- Makes one batch visible: windows, states, outputs, dead letters, marks and acknowledgements.
--
-- KEYS[1] input stream   KEYS[2] output stream   KEYS[3] dead-letter stream   KEYS[4] counters
-- KEYS[5] unfinished   KEYS[6] finished ids   KEYS[7] commits
-- KEYS[8...] lease and marks of each shard in the plan, then window, state and record of each
--            symbol in each interval, then output stream and marks of longer intervals, and the
--            windows of symbols to forget
-- ARGV[1] group   ARGV[2] id of this commit   ARGV[3] the plan, a MessagePack map:
--   shards     array of {token, consumer, id of the last commit that the worker knows, id of the
--              last entry that this one finishes or ''}
--   symbols    the number of windows of symbols, each with a state and a record
--   others     array of {index in KEYS, type} of the keys of longer intervals that all symbols need
--   streams    the streams that get entries, as indexes in KEYS
--   commands   array of {name, index in KEYS, argument, ...}, see spell_out.lua and carry_out.lua
-- ARGV[4...] the records to publish
-- Returns {'done', Redis's time in ms, damaged counter, old value, ...},
--         {'lease lost', index in shards, ...}, {'rolled back', index in shards, commit found},
--         {'gone', index in shards, entry id}, {'wrong type', key, its type},
--         {'full', stream, its last id},
--         {'damaged', {index of the symbol, key of that symbol, its type}, ...}
--      or {'broken off', failure}.
--
-- Protects G3 and G4. Redis runs a script atomically, but does not roll back one that fails
-- half-way. So what can be checked is checked before the first write. The first write is one that a
-- full Redis refuses, and notes that a commit has begun; the last one notes that it is complete. A
-- missing right or a renamed command cannot be detected in advance: if a command fails in between,
-- the remaining commands are stored, and complete.lua executes them before any worker uses one of
-- these shards again.

local input, output, dead, counters = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local unfinished, finished_ids, commits = KEYS[5], KEYS[6], KEYS[7]
local group, id, plan = ARGV[1], ARGV[2], cmsgpack.unpack(ARGV[3])

local function shard_keys(i) return KEYS[6 + 2 * i], KEYS[7 + 2 * i] end

-- 1. Every lease must still be held.
local lost = {'lease lost'}
for i, shard in ipairs(plan.shards) do
  if redis.call('GET', (shard_keys(i))) ~= shard[1] then table.insert(lost, i - 1) end
end
if #lost > 1 then return lost end

-- 2. The group must exist (XPENDING fails if not), and every key must have its type or be absent.
--    TIME is tried here, since it is needed when everything is written.
redis.call('XPENDING', input, group)
now_in_ms()
local wrong
local exists = {}
local function expect(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted then wrong = wrong or {'wrong type', key, found} end
  exists[key] = found ~= 'none'
end
expect(input, 'stream')
expect(output, 'stream')
expect(dead, 'stream')
expect(counters, 'hash')
expect(unfinished, 'hash')
expect(finished_ids, 'hash')
expect(commits, 'hash')
for i = 1, #plan.shards do
  local _, marks = shard_keys(i)
  expect(marks, 'hash')
end
for _, other in ipairs(plan.others) do expect(KEYS[other[1]], other[2]) end
if wrong then return wrong end

-- If the keys of a symbol are wrong, only that symbol is left out of the batch (G9).
local damaged, first = {'damaged'}, 8 + 2 * #plan.shards
local function expect_of_symbol(index, wanted)
  local found = redis.call('TYPE', KEYS[index]).ok
  if found ~= 'none' and found ~= wanted then
    table.insert(damaged, {math.floor((index - first) / 3), KEYS[index], found})
  end
end
for i = first, first + 3 * plan.symbols - 1, 3 do
  expect_of_symbol(i, 'list')
  expect_of_symbol(i + 1, 'hash')
  expect_of_symbol(i + 2, 'string')
end
if #damaged > 1 then return damaged end

-- 3. Redis must have what the worker believes it has. It can go back to older data without breaking
--    the connection, for example when a replica that is behind is copied over its master. If no
--    commit was lost, the last entries may be: Redis does not have them any more, or has not routed
--    them yet, and the worker that reads them later would process them once more.
local function is_gone(entry, consumer)
  if #redis.call('XPENDING', input, group, entry, entry, '1', consumer) > 0 then return false end
  -- If the consumer was deleted, the entry is there and was delivered.
  return after(entry, group_info(input, group)['last-delivered-id'])
    or #redis.call('XRANGE', input, entry, entry) == 0
end
for i, shard in ipairs(plan.shards) do
  local _, consumer, last_commit, last_entry = unpack(shard)
  local found = redis.call('HGET', commits, consumer) or ''
  if found ~= last_commit then return {'rolled back', i - 1, string.match(found, '^%w*')} end
  if last_entry ~= '' and is_gone(last_entry, consumer) then
    return {'gone', i - 1, last_entry}
  end
end

-- 4. There must be ids left. If both numbers of the last id have 20 digits, it is the greatest
--    possible one, or close to it.
for _, number in ipairs(plan.streams) do
  local stream = KEYS[number]
  if exists[stream] then
    local last_id = stream_info(stream)['last-generated-id']
    if #last_id == 41 then return {'full', stream, last_id} end
  end
end

-- 5. Write, and acknowledge.
local function note(text)
  local words = {}
  for i, shard in ipairs(plan.shards) do
    words[2 * i - 1], words[2 * i] = shard[2], text
  end
  if #words > 0 then redis.call('HSET', commits, unpack(words)) end
end

local commands = spelled_out(plan.commands, function(number) return ARGV[3 + number] end)
note(begun(id))
local rest, failure = carry_out(commands)
if rest then
  redis.call('HSET', commits, plan.shards[1][2], broken_off(id, failure, rest))
  return {'broken off', failure}
end
note(id)
return {'done', commit_time_in_ms(), unpack(damaged_counters)}
