"""What workers with partitions read and write, over all partitions of one Redis."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import redis

from marketstate.schemas.candle import Candle, encode_envelope
from marketstate.schemas.partitions import stream_of
from marketstate.worker.engine.changes import ENDS
from marketstate.worker.settings import PREFIX, Settings, settings_from


def groups(partitions: int | None) -> list[Settings]:
    """The settings of each partition; without partitions, of the one group."""
    return settings_from({f"{PREFIX}PARTITIONS": str(partitions or "")}).each_partition()


def feed_by_symbol(client: redis.Redis, candles: Iterable[Candle], partitions: int) -> int:
    """Write candles as a publisher does that knows the partitions; returns how many."""
    count = 0
    with client.pipeline(transaction=False) as writes:
        for candle in candles:
            fields: Any = encode_envelope(candle, source="test")
            writes.xadd(stream_of(candle.symbol, partitions), fields)
            count += 1
        writes.execute()
    return count


def all_counters(client: redis.Redis, partitions: int) -> Counter[str]:
    """The sums of all partitions."""
    sums: Counter[str] = Counter()
    for group in groups(partitions):
        found: Any = client.hgetall(group.keys.counters)
        sums.update({name.decode(): int(value) for name, value in found.items()})
    return sums


def all_finished(client: redis.Redis, partitions: int) -> int:
    """How many entries are finished, in whatever way."""
    counts = all_counters(client, partitions)
    return sum(count for name, count in counts.items() if name in ENDS)


def all_published(client: redis.Redis, partitions: int) -> dict[str, list[dict[bytes, bytes]]]:
    """The entries of all output streams by symbol, in order, without ids."""
    by_symbol: dict[str, list[dict[bytes, bytes]]] = defaultdict(list)
    for group in groups(partitions):
        entries: Any = client.xrange(group.keys.output_stream)
        for _, fields in entries:
            by_symbol[fields[b"symbol"].decode()].append(fields)
    return dict(by_symbol)
