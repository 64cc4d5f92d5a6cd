"""What is kept of symbols: read from the old partitions, written to the new, and compared.

A symbol's window and mark are all that its next states depend on. What is published of it is copied
too, so that its readers find it. Writing the same twice is harmless.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from redis.client import Pipeline

from marketstate.schemas.partitions import partition_of
from marketstate.worker.engine.all_partitions import Part
from marketstate.worker.engine.counters import numbers
from marketstate.worker.engine.removal import shards_of, symbols_of, unlink
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import NO_USER, Client, reporting

SYMBOLS_AT_ONCE: Final = 200


class Kept(NamedTuple):
    """Of one symbol in one interval."""

    interval: str
    """Empty for the candle interval."""
    symbol: str
    mark: bytes
    window: list[bytes]
    state: dict[bytes, bytes]
    """What is published; empty if it has expired."""
    state_ttl_ms: int
    record: bytes | None
    record_ttl_ms: int


def kept_of(part: Part) -> Iterator[Kept]:
    """Of all symbols of a partition, in each interval."""
    with reporting(part.settings, NO_USER):
        for settings in part.settings.each_interval:
            yield from _kept_of_interval(part.client, settings)


def _kept_of_interval(client: Client, settings: Settings) -> Iterator[Kept]:
    keys = settings.keys
    marks: dict[str, bytes] = {}
    for shard in range(shards_of(client, settings)):
        found: Any = client.hgetall(keys.marks(shard))
        marks.update({symbol.decode(): mark for symbol, mark in found.items()})
    symbols = sorted(marks)
    for start in range(0, len(symbols), SYMBOLS_AT_ONCE):
        some = symbols[start : start + SYMBOLS_AT_ONCE]
        with client.pipeline(transaction=False) as reads:
            for symbol in some:
                reads.lrange(keys.window(symbol), 0, -1)
                reads.hgetall(keys.state(symbol))
                reads.pttl(keys.state(symbol))
                reads.get(keys.record(symbol))
                reads.pttl(keys.record(symbol))
            replies = reads.execute()
        for i, symbol in enumerate(some):
            yield Kept(settings.longer_interval, symbol, marks[symbol], *replies[5 * i : 5 * i + 5])


def move(old: Iterable[Part], new: Sequence[Part]) -> None:
    """Write all that the old partitions keep to the new ones, in place of what these have."""
    for part in new:
        _clear(part)
    for source in old:
        batch: list[Kept] = []
        for kept in kept_of(source):
            batch.append(kept)
            if len(batch) == SYMBOLS_AT_ONCE:
                _write(batch, new)
                batch = []
        _write(batch, new)
    _write_counters(old, new[0])


def digest(parts: Iterable[Part]) -> tuple[int, str]:
    """How many symbols there are, and a digest over all windows and marks: it does not depend on
    how they are spread.
    """
    of_symbols = sorted(
        (kept.symbol, hashlib.blake2b(_proven(kept), digest_size=32).digest())
        for part in parts
        for kept in kept_of(part)
    )
    return len({symbol for symbol, _ in of_symbols}), hashlib.blake2b(
        msgspec.msgpack.encode(of_symbols), digest_size=16
    ).hexdigest()


def _proven(kept: Kept) -> bytes:
    of_interval = [kept.interval] if kept.interval else []
    return msgspec.msgpack.encode([*of_interval, kept.symbol, kept.mark, kept.window])


def _clear(part: Part) -> None:
    """What an attempt that broke off has left."""
    client = part.client
    for settings in part.settings.each_interval:
        keys = settings.keys
        windows = [keys.window(symbol) for symbol in symbols_of(client, settings)]
        unlink(client, windows)
        unlink(client, [keys.marks(shard) for shard in range(shards_of(client, settings))])


def _write(batch: Sequence[Kept], new: Sequence[Part]) -> None:
    for partition, (client, settings) in enumerate(new):
        intervals = {each.longer_interval: each for each in settings.each_interval}
        with client.pipeline(transaction=True) as writes:
            for kept in batch:
                if partition_of(kept.symbol, len(new)) == partition:
                    _queue(writes, kept, intervals[kept.interval])
            writes.execute()


def _queue(writes: Pipeline, kept: Kept, settings: Settings) -> None:
    keys, symbol = settings.keys, kept.symbol
    for key in (keys.window(symbol), keys.state(symbol), keys.record(symbol)):
        writes.unlink(key)
    if kept.window:
        writes.rpush(keys.window(symbol), *kept.window)
    mapping: Any = kept.state
    if mapping:
        writes.hset(keys.state(symbol), mapping=mapping)
    if kept.record is not None:
        writes.set(keys.record(symbol), kept.record)
    for key, ttl_ms in (
        (keys.state(symbol), kept.state_ttl_ms),
        (keys.record(symbol), kept.record_ttl_ms),
    ):
        if ttl_ms >= 0:  # below, there is none, or the key has just expired
            writes.pexpire(key, ttl_ms)
    mark: Any = kept.mark
    writes.hset(keys.marks(settings.shard_of(symbol)), symbol, mark)


def _write_counters(old: Iterable[Part], first: Part) -> None:
    """Their sums, in the first partition: sums over all partitions stay as they were."""
    sums: Counter[str] = Counter()
    for client, settings in old:
        with reporting(settings, NO_USER):
            found: Any = client.hgetall(settings.keys.counters)
        sums.update(numbers(found))
    first.client.unlink(first.settings.keys.counters)
    if sums:
        mapping: Any = sums
        first.client.hset(first.settings.keys.counters, mapping=mapping)
