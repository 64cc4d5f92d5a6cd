"""A worker that is killed at any moment leaves no trace in what is published."""

import random
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.intervals import INTERVALS, kept_by_interval, published_by_interval
from tests.support.replaying import small
from tests.support.small_workers import small_worker, work_off
from tests.support.worker_process import (
    INTERNAL_PREFIX,
    WorkerProcess,
    counters,
    expire_leases,
    feed,
    finished,
    group_info,
    published,
    wait_until,
    wait_until_finished,
)

# With each version of Redis.
KILLS = 10
KILLS_WITH_INTERVALS = 5
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")


def test_kills_at_random_moments_change_no_byte_of_what_is_published(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, G3, G6: windows, outputs and acknowledgements change together or not at all.

    Small batches make many commits, and candles flow all the time, so that the kills hit every step
    of the loop. The worker keeps its id: it comes back as its own successor.
    """
    candles, settings = (
        made_candles(SYMBOLS, 600),
        small(tmp_path) | {"batch": 7, "start": "replay"},
    )
    undisturbed = small_worker(server, start="replay")
    feed(client, candles)
    work_off(undisturbed)
    expected = published(client), windows_and_states(client), counters(client)
    client.flushall()

    rng = random.Random(20_261_122)
    fed = 0
    for kill in range(KILLS):
        with WorkerProcess(server.port, tmp_path, **settings) as worker:
            share = (kill + 1) * len(candles) // (KILLS + 1)
            fed += feed(client, candles[fed:share])
            goal = rng.randint(finished(client), fed)
            wait_until(partial(_has_finished, client, goal), f"{goal} entries are finished")
            worker.kill()
        expire_leases(client)
    with WorkerProcess(server.port, tmp_path, **settings) as worker:
        feed(client, candles[fed:])
        wait_until_finished(client, len(candles))
        assert worker.terminate() == 0
    assert (published(client), windows_and_states(client), counters(client)) == expected
    assert group_info(client)["pending"] == 0


@pytest.mark.one_redis_version
@pytest.mark.parametrize("workers", [1, 3])
def test_kills_change_no_byte_of_what_any_interval_publishes(
    workers: int, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, G3, G6: with five longer intervals. What has come of their candles is stored nowhere, and
    a worker that takes a shard has it all the same.
    """
    candles = made_candles(SYMBOLS, 600)
    settings = small(tmp_path) | {"intervals": INTERVALS, "start": "replay"}
    undisturbed = small_worker(server, intervals=INTERVALS, start="replay")
    feed(client, candles)
    work_off(undisturbed)
    expected = published_by_interval(client), kept_by_interval(client), counters(client)
    assert all(expected[0].values()), "each interval publishes"
    client.flushall()

    rng = random.Random(20_261_126)
    fed = 0
    with ExitStack() as running:

        def start() -> WorkerProcess:
            return running.enter_context(
                WorkerProcess(server.port, tmp_path, batch=7, lease_seconds=1, **settings)
            )

        living = [start() for _ in range(workers)]
        for kill in range(KILLS_WITH_INTERVALS):
            share = (kill + 1) * len(candles) // (KILLS_WITH_INTERVALS + 1)
            fed += feed(client, candles[fed:share])
            goal = rng.randint(finished(client), fed)
            wait_until(partial(_has_finished, client, goal), f"{goal} entries are finished")
            living.pop(0).kill()
            if not living:
                expire_leases(client)
            living.append(start())
        feed(client, candles[fed:])
        wait_until_finished(client, len(candles))
        for worker in living:
            worker.kill()
    found = published_by_interval(client), kept_by_interval(client), counters(client)
    assert found == expected
    assert group_info(client)["pending"] == 0


def _has_finished(client: redis.Redis, entries: int) -> bool:
    return finished(client) >= entries


def windows_and_states(client: redis.Redis) -> dict[str, Any]:
    return {
        symbol: (
            client.lrange(f"{INTERNAL_PREFIX}:window:{symbol}", 0, -1),
            client.hgetall(f"quantum:marketstate:{symbol}"),
        )
        for symbol in SYMBOLS
    }
