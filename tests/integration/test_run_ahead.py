"""The next batch is calculated while Redis writes the last one; a refusal discards both."""

import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import redis

from marketstate.worker.engine import window_codec
from marketstate.worker.engine.changes import Changes
from marketstate.worker.engine.commit import Commit
from marketstate.worker.engine.loop import _recover
from marketstate.worker.errors import RolledBack, WrongKeyType
from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.log import log
from marketstate.worker.stop import Stop
from tests.support.small_workers import (
    FILLED,
    SYMBOLS,
    WINDOW_SIZE,
    aside,
    candles_of,
    small_worker,
    work_off,
)
from tests.support.steps import SteppedWorker
from tests.support.worker_process import counters, feed, published

CANDLES = candles_of(SYMBOLS, 0, 2 * FILLED - 1)
BATCH = 5
STATE = "quantum:marketstate:BTCUSDT"

Outcome = tuple[dict[str, list[dict[bytes, bytes]]], dict[str, int]]


@pytest.fixture
def worker(server: EmbeddedRedis, client: redis.Redis) -> SteppedWorker:
    """It has more to do than fits into some batches, and has done nothing of it."""
    worker = small_worker(server, batch=BATCH, publish_interval=60)
    feed(client, CANDLES)
    return worker


@pytest.fixture
def expected() -> Outcome:
    """What one batch of all candles leaves."""
    with EmbeddedRedis() as server, server.client() as client:
        alone = small_worker(server, batch=2_000, publish_interval=60)
        feed(client, CANDLES)
        alone.apply(alone.advance(alone.fetch()))
        return outcome(client)


def outcome(client: redis.Redis) -> Outcome:
    return published(client), counters(client)


def windows_in_redis(client: redis.Redis, worker: SteppedWorker) -> Mapping[str, list[float]]:
    found: dict[str, list[float]] = {}
    for symbol in SYMBOLS:
        candles: Any = client.lrange(worker.keys.window(symbol), 0, -1)
        found[symbol] = window_codec.unpack(b"".join(candles))[1].tolist()
    return found


def windows_in_memory(worker: SteppedWorker) -> Mapping[str, list[float]]:
    return {
        symbol: memory.window.closes().tolist() for _, symbol, memory in worker.shards.remembered()
    }


def test_what_is_published_is_the_same_when_running_ahead(
    worker: SteppedWorker, client: redis.Redis, expected: Outcome
) -> None:
    """G2, G3."""
    work_off(worker)
    assert outcome(client) == expected
    assert windows_in_memory(worker) == windows_in_redis(client, worker)
    assert all(len(closes) == WINDOW_SIZE for closes in windows_in_memory(worker).values())


def test_a_redis_that_has_no_scripts_yet_refuses_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: after a failover, windows would be loaded twice."""
    client.script_flush()
    worker = small_worker(server, batch=BATCH, publish_interval=60)
    feed(client, CANDLES)
    work_off(worker)
    tokens = [client.get(worker.keys.lease(shard)) for shard in range(16)]
    assert tokens == [f"one:{epoch}".encode() for epoch in range(1, 17)]


def lose_the_leases(client: redis.Redis, worker: SteppedWorker) -> None:
    for symbol in SYMBOLS:
        client.delete(worker.keys.lease(shard_of(symbol, 16)))


def forget_the_scripts(client: redis.Redis, _worker: SteppedWorker) -> None:
    client.script_flush()


@pytest.mark.parametrize("trouble", [lose_the_leases, forget_the_scripts])
@pytest.mark.parametrize("batches_before", [0, 1, 2])
def test_a_refused_commit_and_the_batch_after_it_are_discarded_and_done_again(
    trouble: Callable[[Any, SteppedWorker], None],
    batches_before: int,
    *,
    worker: SteppedWorker,
    client: redis.Redis,
    expected: Outcome,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G3, G4: memory is ahead of Redis at that moment."""
    for _ in range(batches_before):
        worker.work_on_a_batch()
    worker.commit.finish()
    before = outcome(client), windows_in_redis(client, worker)
    trouble(client, worker)
    worker.work_on_a_batch()
    assert windows_in_memory(worker) != windows_in_redis(client, worker)
    worker.work_on_a_batch()
    assert (outcome(client), windows_in_redis(client, worker)) == before
    assert not any(shard_of(symbol, 16) in worker.shards for symbol in SYMBOLS)
    assert "the next holder has its candles" not in caplog.text
    work_off(worker)
    assert outcome(client) == expected
    assert windows_in_memory(worker) == windows_in_redis(client, worker)


def test_damage_that_a_commit_under_way_meets_costs_no_other_symbol(
    worker: SteppedWorker, client: redis.Redis, expected: Outcome
) -> None:
    """G9."""
    worker.work_on_a_batch()
    worker.work_on_a_batch()
    client.delete(STATE)
    client.set(STATE, "not a hash")
    work_off(worker)
    assert list(aside(client)) == [b"BTCUSDT"]
    assert published(client)["ETHUSDT"] == expected[0]["ETHUSDT"]
    found = counters(client)
    assert found["applied"] + found["quarantined"] == len(CANDLES)


def test_a_redis_that_went_back_to_older_data_is_noticed(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    """G3."""
    worker.work_on_a_batch()
    worker.commit.finish()
    client.hset(worker.keys.commits, shard_name(shard_of(SYMBOLS[0], 16)), "another")
    worker.work_on_a_batch()
    with pytest.raises(RolledBack):
        worker.work_on_a_batch()


def test_a_calculation_that_fails_while_a_commit_is_under_way_costs_one_symbol(
    worker: SteppedWorker, client: redis.Redis, expected: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9."""
    emission: Any = worker.pipeline._emission
    states = emission._states

    def fail(closes: Any) -> Any:
        if any(close.candle.symbol == "BTCUSDT" for close in closes):
            raise LookupError("a mistake of ours")
        return states(closes)

    monkeypatch.setattr(emission, "_states", fail)
    work_off(worker)
    assert published(client)["ETHUSDT"] == expected[0]["ETHUSDT"]
    assert list(aside(client)) == [b"BTCUSDT"]
    found = counters(client)
    assert found["applied"] + found["quarantined"] == len(CANDLES)


def test_a_calculation_that_fails_after_a_refused_commit_costs_no_symbol(
    worker: SteppedWorker, client: redis.Redis, expected: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: what it was calculated from was never true."""
    lose_the_leases(client, worker)
    worker.work_on_a_batch()
    with monkeypatch.context() as patched:
        patched.setattr(worker.pipeline, "advance", None)
        worker.work_on_a_batch()
    work_off(worker)
    assert (aside(client), outcome(client)) == ({}, expected)


@pytest.mark.parametrize(
    ("settings", "runs_ahead"),
    [
        ({}, True),
        # The marks have the time of their commit, which only its reply tells.
        ({"rate_clock": "wall"}, False),
        ({"emit_on_regime_change": True}, False),
    ],
)
def test_what_is_under_way_is_finished_before_the_shards_are_released(
    settings: dict[str, Any],
    runs_ahead: bool,
    server: EmbeddedRedis,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G5, and G6 for the next worker."""
    caplog.set_level(logging.INFO, logger=log.name)
    worker = small_worker(server, batch=2 * FILLED, **settings)
    feed(client, CANDLES)
    worker.work_on_a_batch()
    assert ("BTCUSDT: σ=" in caplog.text) is not runs_ahead
    worker.leave()
    assert counters(client)["applied"] == 2 * FILLED
    assert "BTCUSDT: σ=" in caplog.text
    assert [shard for shard in range(16) if client.exists(worker.keys.lease(shard))] == []


def held(client: redis.Redis, worker: SteppedWorker) -> list[int]:
    return [shard for shard in range(16) if client.exists(worker.keys.lease(shard))]


def roll_back(client: redis.Redis, worker: SteppedWorker) -> None:
    client.hset(worker.keys.commits, shard_name(shard_of(SYMBOLS[0], 16)), "another")


def lose_the_connection(_client: redis.Redis, worker: SteppedWorker) -> None:
    connection: Any = worker.commit._client.connection
    connection._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(redis.ConnectionError):
        worker.work_on_a_batch()


@pytest.mark.parametrize(
    ("trouble", "is_under_way"),
    [(roll_back, False), (lose_the_connection, True)],
)
def test_a_clean_stop_releases_the_shards_whatever_became_of_what_was_under_way(
    trouble: Callable[[Any, SteppedWorker], None],
    is_under_way: bool,
    *,
    worker: SteppedWorker,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G6."""
    worker.work_on_a_batch()
    worker.commit.finish()
    if is_under_way:
        worker.work_on_a_batch()
        trouble(client, worker)
    else:
        trouble(client, worker)
        worker.work_on_a_batch()
    worker.leave()
    assert held(client, worker) == []
    assert "it is not known whether the last batch was written" in caplog.text
    assert "could not be released" not in caplog.text


def test_what_ends_a_worker_at_its_stop_does_not_keep_its_shards(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    """G6."""
    worker.work_on_a_batch()
    worker.commit.finish()
    client.delete(worker.keys.counters)
    client.set(worker.keys.counters, "not a hash")
    worker.work_on_a_batch()
    with pytest.raises(WrongKeyType):
        worker.leave()
    assert held(client, worker) == []


def test_redis_is_back_when_it_has_accepted_a_batch(
    worker: SteppedWorker, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a full Redis would be reported as lost and as back again, many times a second."""
    stop, begin = Stop(), Commit.begin
    was_full: list[object] = []

    def begin_when_full(self: Commit, changes: Changes) -> None:
        if not was_full:
            was_full.append(client.config_set("maxmemory", 1))
        begin(self, changes)

    monkeypatch.setattr(Commit, "begin", begin_when_full)
    monkeypatch.setattr(stop, "sleep", lambda _seconds: client.config_set("maxmemory", 0))
    lost = redis.ConnectionError()
    try:
        _recover(lost, worker, worker.settings, stop, worker.shards._incarnation)
    finally:
        client.config_set("maxmemory", 0)
    assert was_full
    assert counters(client)["applied"] == BATCH


def test_what_is_known_to_be_published_is_logged_although_the_connection_is_lost(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=log.name)
    worker = small_worker(server, batch=2 * FILLED)
    feed(client, CANDLES)
    worker.work_on_a_batch()
    worker.keep()
    assert "BTCUSDT: σ=" not in caplog.text
    lost = redis.ConnectionError()
    _recover(lost, worker, worker.settings, Stop(), worker.shards._incarnation)
    assert "BTCUSDT: σ=" in caplog.text
