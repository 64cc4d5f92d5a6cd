-- Executes the commands of a commit one after another; if one fails, returns those that are left.
--
-- Not a script: it is prepended to the scripts that need it, after integer.lua and clock.lua.
--
-- Protects G3. Redis does not roll back a script that fails half-way, but each single command
-- either takes effect or does not. So a commit is a list of commands that is complete before the
-- first of them is executed. If one fails, all before it are done, and neither it nor any after it
-- is. Executing the rest once completes the commit, whatever the reason was.
--
-- A command is an array of words, all of them text: name, key, argument, ... Three names are ours:
--   COUNT   counters, name, increment: a damaged counter starts again at 0
--   FINISH  unfinished, consumer, number: subtracts the number; if the old value is damaged it
--           stays, and restore.lua counts the entries
--   MARK    marks, symbol, mark, ...: the time is appended to a mark that ends in ':'

local PLAIN = 'a command of Redis'
local ACTS = {
  RPUSH = PLAIN, LTRIM = PLAIN, HSET = PLAIN, PEXPIRE = PLAIN, XADD = PLAIN, XACK = PLAIN,
  DEL = PLAIN, HDEL = PLAIN, SET = PLAIN,
}
local damaged_counters = {} -- name, old value, ...

-- The same for all marks of a commit. It is taken after the outputs were added, so that by the wall
-- clock a symbol's interval never starts before its entry.
local commit_time
local function commit_time_in_ms()
  commit_time = commit_time or now_in_ms()
  return commit_time
end

function ACTS.COUNT(counters, name, increment)
  local damaged = count(counters, name, tonumber(increment))
  if damaged then
    table.insert(damaged_counters, name)
    table.insert(damaged_counters, damaged)
  end
end

function ACTS.FINISH(unfinished, consumer, number)
  local before = integer(redis.call('HGET', unfinished, consumer) or '0')
  if before then redis.call('HSET', unfinished, consumer, int(before - tonumber(number))) end
end

function ACTS.MARK(marks, ...)
  local words = {...}
  for i = 2, #words, 2 do
    if string.sub(words[i], -1) == ':' then words[i] = words[i] .. int(commit_time_in_ms()) end
  end
  redis.call('HSET', marks, unpack(words))
end

-- Without what Redis adds about the inside of the script. Redis 7 raises a table.
local function words_of(failure)
  local text = type(failure) == 'table' and failure.err or tostring(failure)
  text = string.gsub(text, '@?user_script:%s*%d+: ?', '')
  return (string.gsub(text, ' script: %x+, on .*$', ''))
end

-- Returns nil if everything is done; otherwise the commands that are left, and the failure in one
-- line.
local function carry_out(commands)
  local at = 1
  local function go_on()
    while at <= #commands do
      local command = commands[at]
      local act = ACTS[command[1]]
      if act == PLAIN then
        redis.call(unpack(command))
      else
        act(unpack(command, 2))
      end
      at = at + 1
    end
  end
  local done, failure = pcall(go_on)
  if done then return nil end
  local rest = {}
  for i = at, #commands do table.insert(rest, commands[i]) end
  local line = string.format(
    '%s %s: %s', tostring(commands[at][1]), tostring(commands[at][2]), words_of(failure)
  )
  return rest, (string.gsub(line, '%s+', ' '))
end

-- The hash of commits has a field for each shard: the id of its last commit. Until that is
-- complete, it has the following text instead. If the commit broke off, one of its shards has the
-- failure as well, and, after a line break, the commands that are left.
local function begun(id) return id .. ':begun' end
local function broken_off(id, failure, rest)
  return begun(id) .. ':' .. failure .. '\n' .. cmsgpack.pack(rest)
end
