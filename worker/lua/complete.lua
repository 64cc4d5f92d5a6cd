-- Completes the last commit of a shard if it broke off, before the shard is served.
--
-- KEYS[1] commits   KEYS[2] lease of the shard   KEYS[3] finished ids
-- ARGV[1] token of the lease   ARGV[2] consumer of the shard
-- Returns {'complete', id of the last commit or ''},
--         {'completed', that id, failure, {damaged key, ...}, {damaged counter, old value, ...}},
--         {'lease lost'}, {'not noted'} or {'broken off', failure}.
--
-- Protects G3 and G4. A commit concerns several shards, and several workers may take them. The
-- first of them completes it for all. No worker uses one of these shards before that: each calls this
-- script before it serves a shard. The keys of the commands are not declared, as in load.lua.

local commits, lease, finished_ids = KEYS[1], KEYS[2], KEYS[3]
local token, consumer = ARGV[1], ARGV[2]

-- nil if somebody has written something else there.
local function commands_in(packed)
  local readable, commands = pcall(cmsgpack.unpack, packed)
  if not readable or type(commands) ~= 'table' then return nil end
  for _, command in ipairs(commands) do
    if type(command) ~= 'table' then return nil end
  end
  return commands
end

local found = redis.call('HGET', commits, consumer) or ''
local id = string.match(found, '^(%w+):')
if not id then return {'complete', found} end
if redis.call('GET', lease) ~= token then return {'lease lost'} end

-- 1. All shards of this commit, and the one whose field has the rest of it.
local fields_when_done, noted_at, failure, rest = {}, nil, nil, nil
local all = redis.call('HGETALL', commits)
for i = 1, #all, 2 do
  local shard, text = all[i], all[i + 1]
  if string.sub(text, 1, #begun(id)) == begun(id) then
    table.insert(fields_when_done, shard)
    table.insert(fields_when_done, id)
    local line, packed = string.match(text, '^%w+:%w+:([^\n]*)\n(.*)$')
    if line then noted_at, failure, rest = shard, line, commands_in(packed) end
  end
end
if not rest then return {'not noted'} end

-- 2. If a key of one symbol was damaged in the meantime, only that symbol is affected: what is there
--    stays, and loading the symbol finds it.
local WANTED = {RPUSH = 'list', LTRIM = 'list', HSET = 'hash', SET = 'string'}
local damaged_keys, is_damaged = {}, {}
for _, command in ipairs(rest) do
  local wanted, key = WANTED[command[1]], command[2]
  if wanted and key ~= finished_ids and not is_damaged[key] then
    local found = redis.call('TYPE', key).ok
    if found ~= 'none' and found ~= wanted then
      is_damaged[key] = true
      table.insert(damaged_keys, key)
    end
  end
end
local commands = {}
for _, command in ipairs(rest) do
  if not is_damaged[command[2]] then table.insert(commands, command) end
end

-- 3. The first write changes nothing; it is one that a full Redis refuses.
redis.call('HSET', commits, noted_at, broken_off(id, failure, rest))
local still_left, new_failure = carry_out(commands)
if still_left then
  redis.call('HSET', commits, noted_at, broken_off(id, new_failure, still_left))
  return {'broken off', new_failure}
end
redis.call('HSET', commits, unpack(fields_when_done))
return {'completed', id, failure, damaged_keys, damaged_counters}
