"""The plan of a commit: everything that a batch writes, as commands in their order.

`worker/lua/spell_out.lua` spells out those of states, and `worker/lua/carry_out.lua` describes and
executes the commands. If a commit breaks off, others see the effects of the commands before the
failed one. Entries are acknowledged last.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import astuple

from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES
from marketstate.schemas.market_state import (
    MarketStateRecord,
    encode_record,
    hash_fields,
    stream_fields,
)
from marketstate.worker.engine import window_codec
from marketstate.worker.engine.changes import Changes, Entry, SymbolChange
from marketstate.worker.keys import shard_name
from marketstate.worker.settings import Settings

MAX_DEAD_FIELDS: Final = 100
# Lua can pass a few thousand arguments at once.
ARGUMENTS_AT_ONCE: Final = 1_000
# The indexes of the keys, as Lua counts them.
INPUT, OUTPUT, DEAD, COUNTERS, UNFINISHED, FINISHED_IDS, COMMITS = range(1, 8)
KEYS_OF_A_SYMBOL: Final = 3

Command = list[Any]
"""Name, index of the key, arguments. All arguments that come to a command of Redis are text: given
the number 100000000, Lua in Redis 7.2.4 passes 1e+8 to it.
"""


class Part(NamedTuple):
    """What a batch changes of one interval, and the indexes of its keys."""

    settings: Settings
    symbols: Mapping[str, SymbolChange]
    first: int
    """Of the first symbol's window; its state and record follow, then the next symbol."""
    output: int
    marks: Mapping[int, int]
    """By shard."""
    forgotten: int
    """Of the first window to forget."""


class Plan:
    """The keys, and everything that is done with them."""

    def __init__(self, changes: Changes, settings: Settings) -> None:
        self._changes = changes
        self._settings = settings
        keys = settings.keys
        self.keys = [
            keys.input,
            keys.output_stream,
            keys.dead_stream,
            keys.counters,
            keys.unfinished,
            keys.finished_ids,
            keys.commits,
        ]
        for shard in changes.finished:
            self.keys += (keys.lease(shard), keys.marks(shard))
        self.others: list[tuple[int, str]] = []
        """Further keys that must have a type or be absent: their indexes, and the types."""
        self._parts = list(self._each_part())
        self.symbols = [symbol for part in self._parts for symbol in part.symbols]
        """Each with a window, a state and a record, in the order of these keys."""
        self.records: list[str] = []
        """Encoded, those of each interval together. Commands have their numbers, counted from 1."""
        self._records = {
            part.settings.candle_interval: self._numbered(part) for part in self._parts
        }

    def _each_part(self) -> Iterator[Part]:
        """Every interval of which something changes; the symbols of all come first."""
        changes, first_marks = self._changes, COMMITS + 2
        found = [
            (each, each.keys, changes.longer.get(each.longer_interval, {}))
            for each in self._settings.longer
            if each.longer_interval in changes.longer or changes.retired
        ]
        found.insert(0, (self._settings, self._settings.keys, changes.symbols))
        firsts = []
        for _, keys, symbols in found:
            firsts.append(len(self.keys) + 1)
            for symbol in symbols:
                self.keys += (keys.window(symbol), keys.state(symbol), keys.record(symbol))
        for first, (settings, keys, symbols) in zip(firsts, found, strict=True):
            output = OUTPUT
            marks = {shard: first_marks + 2 * i for i, shard in enumerate(changes.finished)}
            if settings.longer_interval:
                output = self._another(keys.output_stream, "stream")
                shards = {change.shard for change in symbols.values()} | changes.retired.keys()
                marks = {
                    shard: self._another(keys.marks(shard), "hash") for shard in sorted(shards)
                }
            forgotten = len(self.keys) + 1
            for retired in changes.retired.values():
                self.keys += map(keys.window, retired)
            yield Part(settings, symbols, first, output, marks, forgotten)

    def _another(self, key: str, kind: str) -> int:
        self.keys.append(key)
        self.others.append((len(self.keys), kind))
        return len(self.keys)

    def _numbered(self, part: Part) -> list[tuple[int, MarketStateRecord]]:
        """The records of an interval in the order in which they are published."""
        interval, before = part.settings.candle_interval, len(self.records)
        records = [record for record in self._changes.records if record.interval == interval]
        self.records += map(encode_record, records)
        return [*enumerate(records, before + 1)]

    @property
    def streams(self) -> list[int]:
        """The streams that get entries."""
        outputs = [
            part.output for part in self._parts if self._records[part.settings.candle_interval]
        ]
        return [*outputs, *([DEAD] if self._changes.dead else [])]

    def commands(self) -> list[Command]:
        changes, settings = self._changes, self._settings
        keys = settings.keys
        commands: list[Command] = []
        for part in self._parts:
            commands += _of_symbols(part, self._records[part.settings.candle_interval])
        for part in self._parts:
            commands += _of_retired(part, changes)
        for part in self._parts:
            of_part = self._records[part.settings.candle_interval]
            if of_part:
                first, _ = of_part[0]
                # Without the record itself, which is the last field.
                values = [astuple(stream_fields(record, ""))[:-1] for _, record in of_part]
                maxlen = str(settings.output_maxlen)
                commands.append(
                    ["ENTRIES", part.output, first, maxlen, *chain.from_iterable(values)]
                )
        for left, letter in enumerate(changes.dead, 1 - len(changes.dead)):
            # The last one trims the stream, which leaves as many as if each did.
            trim = () if left else ("MAXLEN", "~", str(settings.dead_maxlen))
            fields = binary(dead_fields(*letter, source_stream=keys.input))
            commands.append(["XADD", DEAD, *trim, "*", *fields])
        commands += [["COUNT", COUNTERS, name, str(n)] for name, n in changes.counters.items()]
        for part in self._parts:
            commands += _marks(part, short=not settings.marks_are_long)
        commands += _positions(changes)
        # The acknowledgement comes last.
        for entry_ids in changes.finished.values():
            acknowledgement: Command = ["XACK", INPUT, keys.group]
            commands += _split(acknowledgement, [entry_id.decode() for entry_id in entry_ids])
        return commands


def _of_symbols(part: Part, records: list[tuple[int, MarketStateRecord]]) -> Iterator[Command]:
    """Windows and states."""
    latest = {record.symbol: (number, record) for number, record in records}
    oldest = str(-part.settings.window_size)
    state_ttl_ms = str(part.settings.state_ttl_s * 1_000)
    for i, (symbol, change) in enumerate(part.symbols.items()):
        key = part.first + KEYS_OF_A_SYMBOL * i
        if change.starts_over:
            yield ["DEL", key]
        if change.closes:
            yield from _split(["RPUSH", key], _packed(change))
            yield ["LTRIM", key, oldest, "-1"]
        if symbol in latest:
            number, record = latest[symbol]
            yield ["STATE", key + 1, number, state_ttl_ms, *astuple(hash_fields(record))]


def _of_retired(part: Part, changes: Changes) -> Iterator[Command]:
    """Windows and marks of the symbols to forget."""
    window = part.forgotten
    for shard, symbols in changes.retired.items():
        yield from (["DEL", window + j] for j in range(len(symbols)))
        yield from _split(["HDEL", part.marks[shard]], symbols)
        window += len(symbols)


def _marks(part: Part, *, short: bool) -> Iterator[Command]:
    """Emission marks."""
    marks: dict[int, list[str]] = {}
    for symbol, change in part.symbols.items():
        marks.setdefault(change.shard, []).extend((symbol, change.mark.text(short=short)))
    for shard, texts in marks.items():
        yield from _split(["MARK", part.marks[shard]], texts)


def _positions(changes: Changes) -> Iterator[Command]:
    """How far each shard is."""
    for shard, entry_ids in changes.finished.items():
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
