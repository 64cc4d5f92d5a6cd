"""Workers of two partitions in the test's process, driven step by step."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
import redis

from marketstate.schemas.candle import Candle
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import Settings
from tests.support.small_workers import small_worker, work_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import feed, published

PARTITIONS = 2
# Two in each of two partitions: the first and the third in {p00}.
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT")


def partition_workers(server: EmbeddedRedis, **settings: Any) -> list[SteppedWorker]:
    """The loops of one worker: one for each partition."""
    partitions = settings.setdefault("partitions", PARTITIONS)
    return [small_worker(server, partition=p, **settings) for p in range(partitions)]


def published_by_one(
    server: EmbeddedRedis, client: redis.Redis, candles: Iterable[Candle]
) -> dict[str, list[dict[bytes, bytes]]]:
    """What one group publishes of these candles; then Redis is empty."""
    feed(client, candles)
    work_off(small_worker(server, start="replay"))
    found = published(client)
    client.flushall()
    return found


def work_all_off(workers: Iterable[SteppedWorker]) -> None:
    for worker in workers:
        work_off(worker)


def settings_of_all(worker: SteppedWorker) -> Settings:
    """What a command has: the settings of the group, not of one partition."""
    return msgspec.structs.replace(worker.settings, partition=None)


def published_by(
    client: redis.Redis, workers: Iterable[SteppedWorker]
) -> dict[str, list[dict[bytes, bytes]]]:
    """The entries of all their output streams by symbol, in order, without ids."""
    by_symbol: dict[str, list[dict[bytes, bytes]]] = defaultdict(list)
    for worker in workers:
        entries: Any = client.xrange(worker.keys.output_stream)
        for _, fields in entries:
            by_symbol[fields[b"symbol"].decode()].append(fields)
    return dict(by_symbol)
