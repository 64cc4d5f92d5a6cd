"""Publishing on a regime change, and by the wall clock, on a real Redis."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from marketstate.core.regime import regime_of
from marketstate.core.theta import DEFAULT_THETA
from marketstate.schemas.candle import Candle
from marketstate.schemas.entry_id import entry_time_ms
from marketstate.schemas.market_state import decode_market_state
from marketstate.worker.errors import ConfigurationMismatch
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import NEEDED, RING, candle, made_candles
from tests.support.feeding import SMALL_THETA
from tests.support.oracle import oracle_state
from tests.support.small_workers import FILLED, WINDOW_SIZE, candles_of, work_off, worked
from tests.support.small_workers import SYMBOLS as PAIR
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    INPUT,
    OUTPUT,
    WorkerProcess,
    expire_leases,
    feed,
    published,
    wait_until,
    wait_until_finished,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
HOUR_S = 3_600


def changing_candles(count: int) -> list[Candle]:
    """Markets that trend for a while, and then swing around their mean."""
    rng = np.random.RandomState(5)
    trending = np.arange(count) % 400 < 290
    candles = []
    for i, symbol in enumerate(SYMBOLS):
        steps = np.where(trending, 0.002, 0.0) + rng.standard_normal(count) * 0.0004
        swings = np.where(trending, 0.0, 0.01) * (-1.0) ** np.arange(count)
        closes = 100 * np.exp(np.cumsum(steps) + swings * (1 + i))
        candles += [candle(symbol, number, float(close)) for number, close in enumerate(closes)]
    return sorted(candles, key=lambda one: one.close_time)


def by_the_oracle(symbol: str, candles: list[Candle]) -> list[tuple[int, str, str]]:
    """Close time, regime and reason of the states that a symbol should publish."""
    expected: list[tuple[int, str, str]] = []
    closes: list[float] = []
    for one in candles:
        if one.symbol != symbol:
            continue
        closes.append(one.close)
        state: Any = oracle_state(closes[-RING:], dict(DEFAULT_THETA))
        if state is None:
            continue
        regime = regime_of(state["regime_probs"])
        if not expected or one.close_time - expected[-1][0] >= HOUR_S * 1_000:
            expected.append((one.close_time, regime, "interval"))
        elif regime != expected[-1][1]:
            expected.append((one.close_time, regime, "regime_change"))
    return expected


def test_a_regime_change_is_published_early_exactly_where_the_oracle_says(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, also if the worker is killed in between and another one continues."""
    candles = changing_candles(NEEDED + 180)
    settings: dict[str, object] = {
        "publish_interval": HOUR_S,
        "emit_on_regime_change": "true",
        "batch": 50,
    }
    middle = 3 * (NEEDED + 70)
    with WorkerProcess(server.port, tmp_path, **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, candles[:middle])
        wait_until_finished(client, middle)
        worker.kill()
    expire_leases(client)
    with WorkerProcess(server.port, tmp_path, **settings):
        feed(client, candles[middle:])
        wait_until_finished(client, len(candles))
    found = {
        symbol: [
            (record.close_time_ms, record.regime, record.reason)
            for record in map(decode_market_state, entries)
        ]
        for symbol, entries in published(client).items()
    }
    assert found == {symbol: by_the_oracle(symbol, candles) for symbol in SYMBOLS}
    assert any(reason == "regime_change" for rows in found.values() for _, _, reason in rows)


def test_by_the_wall_clock_a_catch_up_publishes_once_per_interval_and_then_the_newest(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    candles = made_candles(SYMBOLS, 500)
    interval_s = 2
    with WorkerProcess(
        *(server.port, tmp_path), rate_clock="wall", publish_interval=interval_s, batch=20
    ) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, candles)
        wait_until_finished(client, len(candles))
        newest = {one.symbol: one.close_time for one in candles[-3:]}
        wait_until(lambda: newest == latest(client), "the newest states are published")
    times: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
    entries: Any = client.xrange(OUTPUT)
    for entry_id, fields in entries:
        times[fields[b"symbol"].decode()].append(entry_time_ms(entry_id))
    for of_symbol in times.values():
        assert len(of_symbol) > 1
        assert all(b - a >= interval_s * 1_000 for a, b in pairwise(of_symbol)), times


def latest(client: redis.Redis) -> dict[str, int]:
    """Close time of the last state of each symbol."""
    return {
        symbol: decode_market_state(entries[-1]).close_time_ms
        for symbol, entries in published(client).items()
    }


def test_the_wall_clock_continues_after_a_takeover(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """What a worker had not yet published when it died is published by the next, when due."""
    settings: dict[str, Any] = {"rate_clock": "wall", "publish_interval": 1}
    one = SteppedWorker(server, "one", **settings)
    one.keep()
    feed(client, made_candles(SYMBOLS, NEEDED))
    one.finish_all()
    feed(client, made_candles(SYMBOLS, NEEDED + 1)[-3:])
    one.finish_all()
    before = latest(client)
    expire_leases(client)
    two = SteppedWorker(server, "two", **settings)
    two.keep()
    assert two.fetch() == []

    def all_newer() -> bool:
        two.fetch()  # its reply has Redis's time
        two.apply(two.overdue())
        return all(at > before[symbol] for symbol, at in latest(client).items())

    wait_until(all_newer, "the newest states are published")
    assert client.xlen(OUTPUT) == 3 * 2
    two.apply(two.overdue())
    assert client.xlen(OUTPUT) == 3 * 2, "nothing newer to publish"


def test_by_the_wall_clock_what_is_due_is_published_while_a_backlog_waits(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Of symbols that have no candle in it, too."""
    by_the_wall: dict[str, Any] = {"rate_clock": "wall", "publish_interval": 3_600}
    first = worked(server, client, **by_the_wall)
    feed(client, candles_of(PAIR, FILLED, FILLED))
    work_off(first)
    first.release()
    assert len(published(client)["ETHUSDT"]) == 1
    marks = first.keys.marks(shard_of("ETHUSDT", 16))
    mark: Any = client.hget(marks, "ETHUSDT")
    close_time, regime, published_ms = mark.decode().split(":")
    an_hour_ago_ms = int(published_ms) - 3_600_000
    client.hset(marks, "ETHUSDT", f"{close_time}:{regime}:{an_hour_ago_ms}")
    worker = SteppedWorker(
        server, "next", theta=SMALL_THETA, window_size=WINDOW_SIZE, batch=1, **by_the_wall
    )
    feed(client, candles_of(("BTCUSDT",), FILLED + 1, FILLED + 20))
    while len(published(client)["ETHUSDT"]) == 1:
        worker._next_look_s = 0.0
        worker.work_on_a_batch()
        assert worker.intake.is_full, "the backlog still waits"


def test_candles_that_only_warm_the_windows_are_not_published_later_either(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    feed(client, made_candles(SYMBOLS, NEEDED))
    worker = SteppedWorker(server, "one", rate_clock="wall", publish_interval=1, start="warm")
    worker.keep()
    assert worker.finish_all() == 3 * NEEDED
    worker.apply(worker.overdue())
    assert client.xlen(OUTPUT) == 0


@pytest.mark.parametrize("changed", [{"rate_clock": "wall"}, {"emit_on_regime_change": True}])
def test_workers_of_a_group_must_agree_on_the_policy(
    server: EmbeddedRedis, client: redis.Redis, changed: dict[str, Any]
) -> None:
    one = SteppedWorker(server, "one")
    one.keep()
    with pytest.raises(ConfigurationMismatch, match=next(iter(changed))):
        SteppedWorker(server, "two", **changed)
    assert client.exists(INPUT)


def test_marks_of_another_policy_are_understood(server: EmbeddedRedis, client: redis.Redis) -> None:
    """A policy may be switched on and off while no worker runs."""
    candles = made_candles(SYMBOLS, NEEDED + 4)
    policies: list[dict[str, Any]] = [
        {},
        {"emit_on_regime_change": True},
        {"rate_clock": "wall"},
        {},
    ]
    fed = 0
    for number, policy in enumerate(policies):
        worker = SteppedWorker(server, f"worker-{number}", **policy)
        worker.keep()
        upto = 3 * (NEEDED + number)
        feed(client, candles[fed:upto])
        assert worker.finish_all() == upto - fed
        fed = upto
        worker.shards.release()
    of_btc = published(client)["BTCUSDT"]
    times = [decode_market_state(fields).close_time_ms for fields in of_btc]
    assert times == sorted(set(times))
    assert times[-1] == candles[fed - 3].close_time
