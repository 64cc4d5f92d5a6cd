"""Writes the changes of a batch to Redis: all or none, and only while we hold the leases."""

import logging
import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import msgspec

from schemas.candle import MAX_DOCUMENT_BYTES
from schemas.market_state import (
    MarketStateRecord,
    encode_record,
    hash_fields,
    journal_line,
    stream_fields,
)
from worker.engine import window_codec
from worker.engine.changes import Changes, DeadLetter, SymbolChange
from worker.engine.loading import wrong_type_text
from worker.engine.shards import Shards
from worker.errors import LeaseLost, SymbolsDamaged, WrongKeyType
from worker.keys import shard_name
from worker.log import log
from worker.settings import Settings
from worker.store.scripts import Scripts

MAX_DEAD_FIELDS: Final = 100


class Commit:
    def __init__(self, settings: Settings, scripts: Scripts, shards: Shards) -> None:
        self._settings = settings
        self._keys = settings.keys
        self._scripts = scripts
        self._shards = shards

    def apply(self, changes: Changes) -> None:
        """Write, then move, then tell:

        1. one script checks every lease concerned and all key types, and only then writes
           windows, states, outputs, dead letters, counters and marks, and acknowledges;
        2. the windows in memory move;
        3. the journal says what was published.

        Raises LeaseLost when we no longer hold one of the leases, and SymbolsDamaged for keys of
        symbols that cannot be written to: nothing was written. After a
        connection error the changes may or may not have been written: load from Redis what is
        true, and never send them again.
        """
        reply = self._write(changes)  # 1
        committed_ms = self._check(reply, changes)
        self._shards.move(changes, committed_ms)  # 2
        for counter, warning in changes.warnings:  # 3
            log.warning(warning, extra={"kind": counter})
        for error in changes.errors:
            log.error(error, extra={"kind": "internal error"})
        if changes.records and log.isEnabledFor(logging.INFO):
            # In one call: a call for each would take more than half as long as the commit.
            log.info("\n".join(map(journal_line, changes.records)))

    def _write(self, changes: Changes) -> Any:
        return self._scripts.commit(self._key_list(changes), self._plan(changes))

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
            "shards": [self._shard_plan(shard, changes) for shard in changes.finished],
            "symbols": [
                _symbol_plan(change, latest.get(symbol))
                for symbol, change in changes.symbols.items()
            ],
            "outputs": [_flat_fields(stream_fields(record, text)) for record, text in encoded],
            "dead": [_binary(_dead_fields(letter, self._keys.input)) for letter in changes.dead],
            "counters": _flat(changes.counters.items()),
            "window_size": self._settings.window_size,
            "state_ttl_ms": self._settings.state_ttl_s * 1_000,
            "output_maxlen": self._settings.output_maxlen,
            "dead_maxlen": self._settings.dead_maxlen,
        }
        return [self._keys.group, msgspec.msgpack.encode(plan)]

    def _shard_plan(self, shard: int, changes: Changes) -> tuple[str, str, list[str], list[str]]:
        short = not self._settings.marks_are_long
        marks = (
            (symbol, change.mark.text(short=short))
            for symbol, change in changes.symbols.items()
            if change.shard == shard
        )
        finished = [entry_id.decode() for entry_id in changes.finished[shard]]
        return self._shards.token(shard), shard_name(shard), _flat(marks), finished

    def _check(self, reply: list[Any], changes: Changes) -> int:
        """Redis's time of the commit in ms."""
        match reply:
            case [b"done", committed_ms]:
                return int(committed_ms)
            case [b"lease lost", *indexes]:
                shards = list(changes.finished)
                raise LeaseLost([shards[index] for index in indexes])
            case [b"damaged", *found]:
                symbols = list(changes.symbols)
                raise SymbolsDamaged(
                    {symbols[index]: wrong_type_text(key, holds) for index, key, holds in found}
                )
            case [b"wrong type", key, found]:
                raise WrongKeyType(
                    f"the key {key.decode()} holds a {found.decode()}, which the worker cannot "
                    "write to; rename or delete it"
                )
            case _:
                raise AssertionError(f"commit.lua answered {reply!r}")


def _symbol_plan(
    change: SymbolChange, latest: tuple[MarketStateRecord, str] | None
) -> tuple[list[msgspec.Raw], list[str], bool]:
    packed = window_codec.pack(zip(change.close_times_ms, change.closes, strict=True))
    state = _flat_fields(hash_fields(*latest)) if latest else []
    return _binary(packed), state, change.starts_anew


def _dead_fields(letter: DeadLetter, source_stream: str) -> Iterator[bytes]:
    """The original fields first: in a reader's dict, ours then replace originals of that name."""
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
    """Each as a MessagePack string: the reader inside Redis does not know MessagePack's own type
    for bytes, and accepts any bytes as a string.
    """
    return [msgspec.Raw(_string_header(len(string)) + string) for string in strings]


def _string_header(length: int) -> bytes:
    if length < 32:
        return struct.pack("B", 0xA0 | length)
    if length < 1 << 16:
        return struct.pack(">BH", 0xDA, length)
    return struct.pack(">BI", 0xDB, length)


def _flat(pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
    return list(chain.from_iterable(pairs))


def _flat_fields(fields: msgspec.Struct) -> list[str]:
    return list(chain.from_iterable(msgspec.structs.asdict(fields).items()))
