"""A calculation that fails in a way that nobody has foreseen costs the symbol concerned (G9)."""

from typing import Any

import msgspec
import pytest
import redis

from marketstate.core.state import MarketState
from marketstate.worker.engine.changes import Changes
from marketstate.worker.engine.record import record_of
from marketstate.worker.engine.status import read_status
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle
from tests.support.small_workers import (
    FILLED,
    SYMBOLS,
    aside,
    candles_of,
    small_worker,
    work_off,
    worked,
)
from tests.support.worker_process import counters, dead_letters, feed, published

pytestmark = pytest.mark.one_redis_version


_RIGHT = MarketState.rows


def failing_for_more_than_one(self: MarketState, windows: Any) -> Any:
    if len(windows) > 1:
        raise MemoryError
    return _RIGHT(self, windows)


def fail_for(symbol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a state of this symbol met a mistake of ours."""
    right = record_of

    def wrong(template: Any, candle: Any, *rest: Any, **more: Any) -> Any:
        if candle.symbol == symbol:
            raise ZeroDivisionError("nobody has thought of this")
        return right(template, candle, *rest, **more)

    monkeypatch.setattr("marketstate.worker.engine.emission.record_of", wrong)


def test_a_calculation_that_fails_for_a_symbol_sets_it_aside_and_costs_no_other(
    server: EmbeddedRedis,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G5, G9"""
    worker = worked(server, client)
    before, states = counters(client), {s: len(of) for s, of in published(client).items()}
    fail_for("BTCUSDT", monkeypatch)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED + 3))
    work_off(worker)
    after = {name: count - before.get(name, 0) for name, count in counters(client).items()}
    assert after == {"applied": 4, "emitted": 4, "dead": 4, "quarantined": 4}
    assert {s: len(of) - states[s] for s, of in published(client).items()} == {
        "BTCUSDT": 0,
        "ETHUSDT": 4,
    }
    reason = "internal error: ZeroDivisionError: 'nobody has thought of this' in "
    assert all(
        letter[b"error"].decode().startswith(f"quarantined: {reason}")
        for letter in dead_letters(client)
    )
    assert list(aside(client)) == [b"BTCUSDT"]
    assert reason in read_status(client, worker.settings).quarantine["BTCUSDT"]
    (error,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert error.startswith(f"BTCUSDT is set aside: {reason}")
    assert "please report it" in error

    # There is nothing to repair, so renewals do not try it again; the next worker does.
    worker.keep()
    assert list(aside(client)) == [b"BTCUSDT"]
    monkeypatch.undo()
    worker.shards.release()
    worker = small_worker(server, "two")
    assert aside(client) == {}
    feed(client, candles_of(SYMBOLS, FILLED + 4, FILLED + 4))
    work_off(worker)
    assert len(published(client)["BTCUSDT"]) == states["BTCUSDT"] + 1


def test_a_batch_that_fails_only_as_a_whole_is_processed_entry_by_entry(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2, G9"""
    expected = everything_after(server, client, failing=False)
    client.flushall()
    monkeypatch.setattr(MarketState, "rows", failing_for_more_than_one)
    assert everything_after(server, client, failing=True) == expected


def everything_after(
    server: EmbeddedRedis, client: redis.Redis, *, failing: bool
) -> tuple[Any, ...]:
    worker = small_worker(server, "failing" if failing else "right")
    feed(client, candles_of(SYMBOLS, 0, FILLED + 9))
    work_off(worker)
    windows = {
        symbol: memory.window.closes().tolist() for _, symbol, memory in worker.shards.remembered()
    }
    assert len(published(client)["BTCUSDT"]) > 1
    return counters(client), published(client), windows


def test_a_lease_that_is_lost_among_the_single_entries_leaves_the_rest_to_the_next_holder(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G4, G9"""
    worker = worked(server, client)
    applied = counters(client)["applied"]
    monkeypatch.setattr(MarketState, "rows", failing_for_more_than_one)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED + 3))
    readings = worker.fetch()
    for shard in range(16):
        client.set(worker.keys.lease(shard), "other:99")
    version = worker.shards.version
    worker._process(readings)
    assert worker.shards.version > version
    assert counters(client)["applied"] == applied
    worker.keep()
    work_off(worker)
    assert counters(client)["applied"] == applied + 8


def test_an_entry_that_is_not_of_a_symbol_and_fails_is_a_dead_letter(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G5, G9: there is no symbol to set aside."""
    worker = small_worker(server)
    right = Changes.count

    def wrong(self: Changes, counter: str, warning: str | None = None) -> None:
        if counter == "ignored":
            raise ZeroDivisionError
        right(self, counter, warning)

    monkeypatch.setattr(Changes, "count", wrong)
    feed(
        client,
        [
            msgspec.structs.replace(candle("BTCUSDT", 0, 1.0), interval="1d"),
            candle("BTCUSDT", 0, 1.0),
        ],
    )
    work_off(worker)
    assert counters(client) == {"applied": 1, "dead": 1}
    (letter,) = dead_letters(client)
    assert letter[b"error"].startswith(b"internal error: ZeroDivisionError: '' in test_unforeseen")
    assert aside(client) == {}


def test_an_overdue_state_that_cannot_be_calculated_sets_its_symbol_aside(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: by the wall clock."""
    worker = worked(server, client, rate_clock="wall", publish_interval=1)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    states = len(published(client)["ETHUSDT"])
    fail_for("BTCUSDT", monkeypatch)
    # As if a second had passed since the last state of each.
    for _, _, memory in worker.shards.remembered():
        memory.mark = memory.mark._replace(published_ms=1)
    for _ in range(2):
        worker._next_look_s = 0.0
        worker.work_on_a_batch()
    assert list(aside(client)) == [b"BTCUSDT"]
    assert len(published(client)["ETHUSDT"]) == states + 1
