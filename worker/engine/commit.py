"""Makes the changes of a batch true in Redis, all of them or none, and only while we may."""

import logging
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import redis

from schemas.candle import MAX_DOCUMENT_BYTES
from schemas.market_state import encode_record, hash_fields, journal_line, stream_fields
from worker.engine import window_codec
from worker.engine.changes import Changes, DeadLetter, SymbolChange
from worker.engine.shards import Shards
from worker.errors import LeaseLost, WrongKeyType
from worker.keys import shard_name
from worker.log import log
from worker.settings import Settings
from worker.store import scripts
from worker.store.scripts import Scripts

MAX_DEAD_FIELDS: Final = 100


class Commit:
    def __init__(self, settings: Settings, scripts: Scripts, shards: Shards) -> None:
        self._settings = settings
        self._keys = settings.keys
        self._scripts = scripts
        self._shards = shards

    def apply(self, changes: Changes, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Write, then move, then tell, and do `meanwhile` while Redis writes:

        1. one script checks every lease concerned and all key types, and only then writes
           windows, states, outputs, dead letters, counters and marks, and acknowledges;
        2. the windows in memory move;
        3. the journal says what was published.

        Raises LeaseLost when a lease has passed on: nothing was written. A connection error here
        leaves open whether it was written; the caller must load from Redis what is true, and
        never send the changes again.
        """
        reply = self._write(changes, meanwhile)  # 1
        committed_ms = self._check(reply, list(changes.finished))
        self._shards.move(changes, committed_ms)  # 2
        for warning in changes.warnings:  # 3
            log.warning(warning)
        if changes.records and log.isEnabledFor(logging.INFO):
            # At once: a call for each would cost more than half of what the commit does.
            log.info("\n".join(map(journal_line, changes.records)))

    def _write(self, changes: Changes, meanwhile: Callable[[], None]) -> Any:
        keys, args = self._key_list(changes), self._plan(changes)
        scripts.send(self._scripts.commit, keys, args)
        meanwhile()
        try:
            return scripts.receive(self._scripts.commit)
        except redis.exceptions.NoScriptError:
            # Redis does not know it (any more), so it has carried nothing out: load it.
            return self._scripts.commit(keys, args)

    def _key_list(self, changes: Changes) -> list[str]:
        keys = self._keys
        of_shards = ((keys.lease(shard), keys.marks(shard)) for shard in changes.finished)
        of_symbols = ((keys.window(symbol), keys.state(symbol)) for symbol in changes.symbols)
        return [
            keys.input,
            keys.output_stream,
            keys.dead_stream,
            keys.counters,
            keys.unfinished,
            keys.finished_ids,
            *(key for pair in (*of_shards, *of_symbols) for key in pair),
        ]

    def _plan(self, changes: Changes) -> list[str | bytes]:
        encoded = [(record, encode_record(record)) for record in changes.records]
        latest = {record.symbol: (record, text) for record, text in encoded}
        plan = {
            "shards": [
                (
                    self._shards.token(shard),
                    shard_name(shard),
                    _flat(self._marks_of(shard, changes.symbols)),
                    [entry_id.decode() for entry_id in entry_ids],
                )
                for shard, entry_ids in changes.finished.items()
            ],
            "symbols": [
                (
                    _binary(
                        window_codec.pack(zip(change.close_times_ms, change.closes, strict=True))
                    ),
                    _flat_struct(hash_fields(*latest[symbol])) if symbol in latest else [],
                )
                for symbol, change in changes.symbols.items()
            ],
            "outputs": [_flat_struct(stream_fields(record, text)) for record, text in encoded],
            "dead": [_binary(_dead_fields(letter, self._keys.input)) for letter in changes.dead],
            "counters": _flat(changes.counters.items()),
            "window_size": self._settings.window_size,
            "state_ttl_ms": self._settings.state_ttl_s * 1_000,
            "output_maxlen": self._settings.output_maxlen,
            "dead_maxlen": self._settings.dead_maxlen,
        }
        return [self._keys.group, msgspec.msgpack.encode(plan)]

    def _marks_of(
        self, shard: int, symbols: Mapping[str, SymbolChange]
    ) -> Iterator[tuple[str, str]]:
        short = not self._settings.marks_are_long
        for symbol, change in symbols.items():
            if change.shard == shard:
                yield symbol, change.mark.text(short=short)

    def _check(self, reply: list[Any], shards: list[int]) -> int:
        """Redis's time of the commit in ms."""
        match reply:
            case [b"done", committed_ms]:
                return int(committed_ms)
            case [b"lease lost", *indexes]:
                raise LeaseLost([shards[index] for index in indexes])
            case [b"wrong type", key, found]:
                raise WrongKeyType(
                    f"the key {key.decode()} holds a {found.decode()}, which the worker cannot "
                    "write to; rename or delete it"
                )
            case _:
                raise AssertionError(f"commit.lua answered {reply!r}")


def _dead_fields(letter: DeadLetter, source_stream: str) -> Iterator[bytes]:
    """The original fields first: in a reader's dict, ours then win over originals of one name."""
    error, cut = letter.error, False
    for i, (name, value) in enumerate(letter.entry.fields.items()):
        cut |= i >= MAX_DEAD_FIELDS or len(name) + len(value) > MAX_DOCUMENT_BYTES
        if i < MAX_DEAD_FIELDS:
            yield name[:MAX_DOCUMENT_BYTES]
            yield value[:MAX_DOCUMENT_BYTES]
    if cut:
        error += f" (cut here to {MAX_DEAD_FIELDS} fields of {MAX_DOCUMENT_BYTES:,} bytes)"
    yield from (b"error", error.encode())
    yield from (b"source_stream", source_stream.encode())
    yield from (b"source_id", letter.entry.id)


def _binary(strings: Iterable[bytes]) -> list[msgspec.Raw]:
    """Each as a MessagePack string: the reader inside Redis knows nothing of MessagePack's own
    type for bytes, and takes any bytes for a string.
    """
    return [msgspec.Raw(_string_header(len(string)) + string) for string in strings]


def _string_header(length: int) -> bytes:
    if length < 32:
        return struct.pack("B", 0xA0 | length)
    if length < 1 << 16:
        return struct.pack(">BH", 0xDA, length)
    return struct.pack(">BI", 0xDB, length)


def _flat(pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
    return [item for pair in pairs for item in pair]


def _flat_struct(struct: msgspec.Struct) -> list[str]:
    flat = [*struct.__struct_fields__] * 2
    flat[::2] = struct.__struct_fields__
    flat[1::2] = msgspec.structs.astuple(struct)
    return flat
