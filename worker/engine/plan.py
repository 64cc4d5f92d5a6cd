"""The plan of a commit: everything that a batch writes, as commands in their order.

`worker/lua/carry_out.lua` describes and executes the commands. If a commit breaks off, others see
the effects of the commands before the failed one. Entries are acknowledged last.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES
from marketstate.schemas.market_state import (
    MarketStateRecord,
    encode_record,
    hash_fields,
    stream_fields,
)
from marketstate.worker.engine import window_codec
from marketstate.worker.engine.changes import Changes, Entry, SymbolChange
from marketstate.worker.keys import Keys, shard_name
from marketstate.worker.settings import Settings

MAX_DEAD_FIELDS: Final = 100
# Lua can pass a few thousand arguments at once.
ARGUMENTS_AT_ONCE: Final = 1_000
# The indexes of the keys, as Lua counts them.
INPUT, OUTPUT, DEAD, COUNTERS, UNFINISHED, FINISHED_IDS, COMMITS = range(1, 8)
KEYS_OF_A_SYMBOL: Final = 3

Command = list[Any]
"""Name, index of the key, arguments. All arguments are text: given the number 100000000, Lua in
Redis 7.2.4 passes 1e+8 to a command.
"""


def keys_of(changes: Changes, keys: Keys) -> list[str]:
    """The keys of the plan; the first ones have the indexes above."""
    of_shards = ((keys.lease(shard), keys.marks(shard)) for shard in changes.finished)
    of_symbols = (
        (keys.window(symbol), keys.state(symbol), keys.record(symbol)) for symbol in changes.symbols
    )
    return [
        keys.input,
        keys.output_stream,
        keys.dead_stream,
        keys.counters,
        keys.unfinished,
        keys.finished_ids,
        keys.commits,
        *(key for some in (*of_shards, *of_symbols) for key in some),
        *(
            keys.window(symbol)
            for shard in changes.finished
            for symbol in changes.retired.get(shard, [])
        ),
    ]


def streams_of(changes: Changes) -> list[int]:
    """The streams that get entries."""
    return [*([OUTPUT] if changes.records else []), *([DEAD] if changes.dead else [])]


def commands_of(changes: Changes, settings: Settings) -> list[Command]:
    encoded = [(record, encode_record(record)) for record in changes.records]
    latest = {record.symbol: (record, text) for record, text in encoded}
    commands = [*_of_symbols(changes, latest, settings), *_of_retired(changes)]
    outputs = [_flat_fields(stream_fields(*each)) for each in encoded]
    commands += _added(OUTPUT, outputs, settings.output_maxlen)
    letters = [
        binary(dead_fields(*letter, source_stream=settings.keys.input)) for letter in changes.dead
    ]
    commands += _added(DEAD, letters, settings.dead_maxlen)
    commands += [["COUNT", COUNTERS, name, str(n)] for name, n in changes.counters.items()]
    commands += _of_shards(changes, short_marks=not settings.marks_are_long)
    # The acknowledgement comes last.
    for entry_ids in changes.finished.values():
        acknowledgement: Command = ["XACK", INPUT, settings.keys.group]
        commands += _split(acknowledgement, [entry_id.decode() for entry_id in entry_ids])
    return commands


def _of_symbols(
    changes: Changes, latest: dict[str, tuple[MarketStateRecord, str]], settings: Settings
) -> Iterator[Command]:
    """Windows and states.

    A hash is written from scratch: what a 0.1 worker or another program has put into it would cost
    it its small encoding and the order of its fields. The record comes after it, so that it does
    not expire before it.
    """
    oldest = str(-settings.window_size)
    state_ttl_ms = str(settings.state_ttl_s * 1_000)
    first = COMMITS + 1 + 2 * len(changes.finished)
    for i, (symbol, change) in enumerate(changes.symbols.items()):
        key = first + KEYS_OF_A_SYMBOL * i
        if change.starts_over:
            yield ["DEL", key]
        if change.closes:
            yield from _split(["RPUSH", key], _packed(change))
            yield ["LTRIM", key, oldest, "-1"]
        if symbol in latest:
            record, encoded = latest[symbol]
            yield ["DEL", key + 1]
            yield ["HSET", key + 1, *_flat_fields(hash_fields(record))]
            yield ["PEXPIRE", key + 1, state_ttl_ms]
            yield ["SET", key + 2, encoded, "PX", state_ttl_ms]


def _added(stream: int, entries: Sequence[list[Any]], maxlen: int) -> Iterator[Command]:
    """New entries of a stream. The last one trims it, which leaves as many as if each did."""
    for left, fields in enumerate(entries, 1 - len(entries)):
        trim = () if left else ("MAXLEN", "~", str(maxlen))
        yield ["XADD", stream, *trim, "*", *fields]


def _of_retired(changes: Changes) -> Iterator[Command]:
    """Windows and marks of the symbols to forget."""
    window = COMMITS + 1 + 2 * len(changes.finished) + KEYS_OF_A_SYMBOL * len(changes.symbols)
    for i, shard in enumerate(changes.finished):
        symbols = changes.retired.get(shard, [])
        yield from (["DEL", window + j] for j in range(len(symbols)))
        yield from _split(["HDEL", COMMITS + 2 + 2 * i], symbols)
        window += len(symbols)


def _of_shards(changes: Changes, *, short_marks: bool) -> Iterator[Command]:
    """Emission marks, and the position of each shard."""
    marks: dict[int, list[str]] = {shard: [] for shard in changes.finished}
    for symbol, change in changes.symbols.items():
        marks[change.shard] += (symbol, change.mark.text(short=short_marks))
    for i, (shard, entry_ids) in enumerate(changes.finished.items()):
        yield from _split(["MARK", COMMITS + 2 + 2 * i], marks[shard])
        if entry_ids:
            consumer = shard_name(shard)
            yield ["FINISH", UNFINISHED, consumer, str(len(entry_ids))]
            yield ["HSET", FINISHED_IDS, consumer, entry_ids[-1].decode()]


def _split(command: Command, arguments: list[Any]) -> Iterator[Command]:
    """Yields nothing if there are no arguments."""
    for start in range(0, len(arguments), ARGUMENTS_AT_ONCE):
        yield [*command, *arguments[start : start + ARGUMENTS_AT_ONCE]]


def _packed(change: SymbolChange) -> list[msgspec.Raw]:
    return binary(window_codec.pack(zip(change.close_times_ms, change.closes, strict=True)))


def dead_fields(entry: Entry, error: str, *, source_stream: str) -> Iterator[bytes]:
    """The fields of a dead letter. The original ones come first: in a reader's dict, ours then
    replace originals of that name.
    """
    cut = False
    for i, (name, value) in enumerate(entry.fields.items()):
        cut |= i >= MAX_DEAD_FIELDS or len(name) + len(value) > MAX_DOCUMENT_BYTES
        if i < MAX_DEAD_FIELDS:
            yield name[:MAX_DOCUMENT_BYTES]
            yield value[:MAX_DOCUMENT_BYTES]
    if cut:
        error += f" (cut here to {MAX_DEAD_FIELDS} fields of {MAX_DOCUMENT_BYTES:,} bytes)"
    yield from (b"error", error.encode())
    yield from (b"source_stream", source_stream.encode())
    yield from (b"source_id", entry.id)


def binary(strings: Iterable[bytes]) -> list[msgspec.Raw]:
    """Each as a MessagePack string: the reader inside Redis does not know MessagePack's own type
    for bytes, and accepts any bytes as a string.
    """
    return [msgspec.Raw(_string_header(len(string)) + string) for string in strings]


@lru_cache(maxsize=1_024)
def _string_header(length: int) -> bytes:
    if length < 32:
        return struct.pack("B", 0xA0 | length)
    if length < 1 << 16:
        return struct.pack(">BH", 0xDA, length)
    return struct.pack(">BI", 0xDB, length)


def _flat_fields(fields: msgspec.Struct) -> list[str]:
    """Name, value, name, value ... In few steps: a batch has hundreds of these."""
    names = fields.__struct_fields__
    flat = [*names, *names]
    flat[::2] = names
    flat[1::2] = msgspec.structs.astuple(fields)
    return flat
