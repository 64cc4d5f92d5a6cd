"""What the faults did to the data in Redis, noted in Redis itself, in the same step.

So a Redis that goes back to older data forgets both: the checker reads what is true of the data
that it judges. `act` is the only way in which a fault may damage something that the checker must
know of.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, cast

import redis

from tests.fault.chaos.names import Names, consumer_of

KEPT_PREFIX: Final = "chaos:kept:"

Command = Sequence[str | bytes]

# KEYS[1] notes   KEYS[2] dead-letter stream   KEYS[3] finished ids   KEYS[4] counters
# KEYS[5] input stream
# ARGV[1] the note, JSON   ARGV[2] consumer of the shard concerned, or ''
# ARGV[3] commands, a MessagePack array of arrays; these are not Redis's own:
#   KEEP key             copies a key, if it exists
#   BACK key             puts the copy in its place; removes the key if there is no copy
#   KEEP FIELD hash field, BACK FIELD hash field      the same for a field of a hash
#   COUNTER name text    replaces a counter by the text, and adds what it was to the note
#   EXTRA name value ... adds an entry to the input, with the number of the feeder's last one
_ACT: Final = """
local notes, dead, finished_ids, counters, input = unpack(KEYS)
local note = cjson.decode(ARGV[1])
note.dead = redis.call('XLEN', dead)
if ARGV[2] ~= '' then note.finished = redis.call('HGET', finished_ids, ARGV[2]) or '0-0' end
local PREFIX = 'chaos:kept:'
local pseudo = {}
function pseudo.KEEP(key)
  redis.call('DEL', PREFIX .. key)
  if redis.call('EXISTS', key) == 1 then redis.call('COPY', key, PREFIX .. key) end
end
function pseudo.BACK(key)
  redis.call('DEL', key)
  if redis.call('EXISTS', PREFIX .. key) == 1 then redis.call('RENAME', PREFIX .. key, key) end
end
pseudo['KEEP FIELD'] = function(hash, field)
  local found = redis.call('HGET', hash, field)
  redis.call('HDEL', PREFIX .. hash, field)
  if found then redis.call('HSET', PREFIX .. hash, field, found) end
end
pseudo['BACK FIELD'] = function(hash, field)
  local found = redis.call('HGET', PREFIX .. hash, field)
  redis.call('HDEL', hash, field)
  if found then redis.call('HSET', hash, field, found) end
end
function pseudo.COUNTER(name, text)
  local found = redis.call('HGET', counters, name) or '0'
  local was = tonumber(found) or 0
  note.was = string.format('%d', was) == found and was < 2 ^ 53 and found or '0'
  redis.call('HSET', counters, name, text)
end
function pseudo.EXTRA(...)
  local last = redis.call('XREVRANGE', input, '+', '-', 'COUNT', 1)[1]
  local number = '-1'
  for i = 1, last and #last[2] or 0, 2 do
    if last[2][i] == 'trace_id' then number = last[2][i + 1] end
  end
  local fields = {...}
  for _, text in ipairs({'extra', '1', 'trace_id', number}) do table.insert(fields, text) end
  redis.call('XADD', input, '*', unpack(fields))
end
for _, command in ipairs(cmsgpack.unpack(ARGV[3])) do
  local act = pseudo[command[1]]
  if act then act(unpack(command, 2)) else redis.call(unpack(command)) end
end
if note.what then redis.call('RPUSH', notes, cjson.encode(note)) end
"""


def act(
    client: redis.Redis,
    names: Names,
    commands: Sequence[Command],
    symbol: str | None = None,
    **note: Any,
) -> None:
    """All commands and the note, or nothing at all. `note` needs `what`; without it none is made.

    For a `symbol`, the note also says how far its shard was.
    """
    consumer = consumer_of(names.shard_of(symbol)) if symbol else ""
    text = json.dumps(note | ({"symbol": symbol} if symbol else {}))
    # The reader inside Redis does not know MessagePack's own type for bytes.
    packed = b"".join([_array_header(len(commands)), *map(_packed, commands)])
    keys = [names.notes, names.dead, names.finished_ids, names.counters, names.input]
    client.eval(_ACT, len(keys), *keys, text, consumer, packed)


def read(client: redis.Redis, names: Names) -> list[dict[str, Any]]:
    texts = cast("list[bytes]", client.lrange(names.notes, 0, -1))
    return [json.loads(text) for text in texts]


def _packed(command: Command) -> bytes:
    return _array_header(len(command)) + b"".join(map(_string, command))


def _array_header(length: int) -> bytes:
    return b"\xdd" + length.to_bytes(4, "big")


def _string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return b"\xdb" + len(raw).to_bytes(4, "big") + raw
