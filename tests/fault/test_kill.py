"""A worker that is killed at any moment leaves no trace in what is published."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import redis

from marketstate.schemas.candle import Candle
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
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
    work_through,
)

# With each version of Redis.
KILLS = 25
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")


def test_kills_at_random_moments_change_no_byte_of_what_is_published(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, G3, G6: windows, outputs and acknowledgements change together or not at all.

    Small batches make many commits, and candles flow all the time, so that the kills hit every step
    of the loop. The worker keeps its id: it comes back as its own successor.
    """
    candles = made_candles(SYMBOLS, 600)
    expected, expected_counters = _undisturbed(server, client, tmp_path, candles)
    client.flushall()

    rng = random.Random(20_261_122)
    fed = 0
    for kill in range(KILLS):
        with WorkerProcess(server.port, tmp_path, batch=7) as worker:
            share = (kill + 1) * len(candles) // (KILLS + 1)
            fed += feed(client, candles[fed:share])
            goal = rng.randint(finished(client), fed)
            wait_until(partial(_has_finished, client, goal), f"{goal} entries are finished")
            worker.kill()
        expire_leases(client)
    with WorkerProcess(server.port, tmp_path, batch=7) as worker:
        feed(client, candles[fed:])
        wait_until_finished(client, len(candles))
        assert worker.terminate() == 0
    assert (published(client), windows_and_states(client)) == expected
    assert counters(client) == expected_counters
    assert group_info(client)["pending"] == 0


def _has_finished(client: redis.Redis, entries: int) -> bool:
    return finished(client) >= entries


def _undisturbed(
    server: EmbeddedRedis, client: redis.Redis, folder: Path, candles: list[Candle]
) -> tuple[object, object]:
    work_through(server.port, client, folder, candles)
    return (published(client), windows_and_states(client)), counters(client)


def windows_and_states(client: redis.Redis) -> dict[str, Any]:
    return {
        symbol: (
            client.lrange(f"{INTERNAL_PREFIX}:window:{symbol}", 0, -1),
            client.hgetall(f"quantum:marketstate:{symbol}"),
        )
        for symbol in SYMBOLS
    }
