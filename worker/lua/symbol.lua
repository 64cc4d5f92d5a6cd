-- The symbol of an entry and its shard, by the rules of schemas/candle_forms.py and worker/keys.py.
--
-- Not a script: it is prepended to the scripts that need it. An entry without a symbol, or
-- larger than `max_bytes`, belongs to shard 0, whose worker dead-letters it.

local function symbol_in(document, max_bytes)
  if #document > max_bytes then return nil end
  -- The upstream publisher's payload starts with the symbol.
  local symbol = string.match(document, '^{"symbol": ?"([^"\\]+)"')
  if symbol then return symbol end
  local first = string.byte(document, 1) or 0
  local is_messagepack = (first >= 0x80 and first < 0x90) or first == 0xde or first == 0xdf
  local decode = is_messagepack and cmsgpack.unpack or cjson.decode
  local ok, found = pcall(decode, document)
  if ok and type(found) == 'table' and type(found.data) == 'table' then found = found.data end
  if not ok or type(found) ~= 'table' then return nil end
  if found.e ~= nil then return found.s end
  return found.symbol
end

-- Most entries that a script reads are of a few symbols, again and again.
local shard_of_symbol = {}

-- The shard, and the size of the entry in bytes.
local function shard_of(fields, shards, partitions, max_bytes)
  local symbol, payload, data
  local bytes = 0
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    bytes = bytes + #name + #value
    if name == 'payload' then
      payload = value
    elseif name == 'data' then
      data = value
    elseif name == 'symbol' then
      symbol = value
    end
  end
  local document = payload or data
  if document then symbol = symbol_in(document, max_bytes) end
  if type(symbol) ~= 'string' then return 0, bytes end
  local shard = shard_of_symbol[symbol]
  if not shard then
    local hash = tonumber(string.sub(redis.sha1hex(symbol), 1, 8), 16)
    shard = math.floor(hash / partitions) % shards
    shard_of_symbol[symbol] = shard
  end
  return shard, bytes
end
