-- Spells out the commands of a plan, which has only the values of states.
--
-- Not a script: it is prepended to commit.lua. What it returns is what carry_out.lua executes. Lua
-- hashes each string that it is given, byte by byte. So the names of the fields are here, and each
-- record comes once, as an argument of the script: inside the plan it would be hashed twice.
--
-- Two names are short for others. The names of the fields are those of schemas/market_state.py; a
-- test compares them.
--   STATE    state, number of the record, time to live in ms, values: the hash and the record of a
--            symbol. The record's key is the next one in KEYS.
--   ENTRIES  stream, number of the first record, maximum length, values: entries with the records
--            from that one on

local VALUES_OF_AN_ENTRY = 6

-- `record` returns the record of a number.
local function spelled_out(short, record)
  local commands, n = {}, 0
  local function add(command)
    n = n + 1
    commands[n] = command
  end
  for _, one in ipairs(short) do
    local name, key = one[1], KEYS[one[2]]
    if name == 'STATE' then
      local ttl_ms = one[4]
      -- A hash is written from scratch: what a 0.1 worker or another program has put into it would
      -- cost it its small encoding and the order of its fields. The record comes after it, so that
      -- it does not expire before it.
      add {'DEL', key}
      add {
        'HSET', key, 'sigma', one[5], 'mu', one[6], 'ts', one[7], 'p_trend', one[8],
        'p_mr', one[9], 'p_chop', one[10], 'dp', one[11], 'vr', one[12], 'spike_proxy', one[13],
        'ts_timestamp', one[14], 'buffer_size', one[15],
      }
      add {'PEXPIRE', key, ttl_ms}
      add {'SET', KEYS[one[2] + 1], record(one[3]), 'PX', ttl_ms}
    elseif name == 'ENTRIES' then
      local number = one[3]
      for i = 5, #one, VALUES_OF_AN_ENTRY do
        add {
          'XADD', key, '*', 'symbol', one[i], 'ts', one[i + 1], 'sigma', one[i + 2],
          'mu', one[i + 3], 'regime', one[i + 4], 'timestamp', one[i + 5], 'record', record(number),
        }
        number = number + 1
      end
      -- The last one trims the stream, which leaves as many as if each did.
      local last = commands[n]
      for i, word in ipairs({'MAXLEN', '~', one[4]}) do table.insert(last, 2 + i, word) end
    else
      one[2] = key
      add(one)
    end
  end
  return commands
end
