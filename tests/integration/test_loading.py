"""Loading: a shard is served as soon as it is taken; its windows come when they are needed, or when
there is time.
"""

import time
from typing import Any

import pytest
import redis

from marketstate.worker.engine.quarantine import LOOKS_AT_ONCE
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle, made_candles
from tests.support.feeding import SMALL_THETA
from tests.support.small_workers import (
    FILLED,
    SYMBOLS,
    WINDOW_SIZE,
    aside,
    candles_of,
    in_place_of,
    work_off,
    worked,
)
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INTERNAL_PREFIX, counters, dead_letters, feed, published

# As large as windows may be, so that a reply has only one.
LARGE = 100_000
MANY = [f"SYM{i}USDT" for i in range(40)]
EXPECTED = {
    symbol: [one.close for one in made_candles(MANY, 3) if one.symbol == symbol] for symbol in MANY
}


def group_with_symbols(server: EmbeddedRedis, client: redis.Redis, **settings: Any) -> None:
    """Three candles of each symbol are applied, and no worker is left."""
    worker = SteppedWorker(server, "first", window_size=LARGE, **settings)
    worker.keep()
    feed(client, made_candles(MANY, 3))
    worker.finish_all()
    worker.shards.release()


def next_worker(server: EmbeddedRedis, **settings: Any) -> SteppedWorker:
    """A worker that has taken all shards, and loaded nothing."""
    worker = SteppedWorker(server, "next", **({"window_size": LARGE} | settings))
    worker.shards.keep()
    assert list(worker.shards) == [*range(worker.settings.shards)]
    assert windows(worker) == {}
    return worker


def next_small_worker(server: EmbeddedRedis, **settings: Any) -> SteppedWorker:
    return next_worker(server, theta=SMALL_THETA, window_size=WINDOW_SIZE, **settings)


def windows(worker: SteppedWorker) -> dict[str, list[float]]:
    return {
        symbol: memory.window.closes().tolist() for _, symbol, memory in worker.shards.remembered()
    }


def test_a_worker_takes_its_share_at_once_and_loads_what_its_candles_need(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: however much there is to load. The rest follows when no entry waits."""
    group_with_symbols(server, client)
    worker = next_worker(server)
    assert worker.shards.seconds_to_keep > 0
    feed(client, [candle(symbol, 3, 1.0) for symbol in MANY[:7]])
    worker.finish_all()
    assert windows(worker) == {symbol: [*EXPECTED[symbol], 1.0] for symbol in MANY[:7]}
    work_off(worker)
    assert windows(worker) == EXPECTED | {symbol: [*EXPECTED[symbol], 1.0] for symbol in MANY[:7]}


def test_the_status_counts_the_symbols_that_are_still_to_be_loaded(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worked(server, client).release()
    damaged = f"{INTERNAL_PREFIX}:window:ETHUSDT"
    in_place_of(damaged, "SET", damaged, "x")(client)
    worker = next_small_worker(server)
    assert worker.heartbeat._status().symbols == 2
    feed(client, candles_of(("BTCUSDT",), FILLED, FILLED))
    worker.finish_all()
    assert worker.heartbeat._status().symbols == 2
    work_off(worker)
    assert worker.heartbeat._status().symbols == 1, "the other is set aside"


def test_while_a_backlog_waits_nothing_is_loaded_that_it_does_not_need(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    group_with_symbols(server, client)
    worker = next_worker(server, batch=2)
    feed(client, [candle(MANY[0], number, 1.0) for number in range(3, 9)])
    while worker.work_on_a_batch() and worker.intake.is_full:
        assert [*windows(worker)] == [MANY[0]]
    assert counters(client)["applied"] == 3 * len(MANY) + 6


@pytest.mark.parametrize("shards", [1, 4])
def test_leases_outlast_a_loading_that_takes_longer(
    shards: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: each reply takes almost half of the lease time."""
    group_with_symbols(server, client, shards=shards)
    taken_before = int(client.get(f"{INTERNAL_PREFIX}:epoch") or 0)
    worker = next_worker(server, shards=shards)
    loaded: Any = worker.shards._loading._loaded
    replies = []

    def and_time_passes(*given: Any) -> Any:
        replies.append(given)
        passed_ms = worker.settings.lease_ms * 45 // 100
        for shard in range(shards):
            lease = worker.keys.lease(shard)
            left_ms: Any = client.pttl(lease)
            client.pexpire(lease, max(1, left_ms - passed_ms))
        worker.shards.drop([])
        return loaded(*given)

    worker.shards._loading._loaded = and_time_passes  # type: ignore[assignment,method-assign]
    work_off(worker)
    assert windows(worker) == EXPECTED
    assert len(replies) == len(MANY)
    assert int(client.get(f"{INTERNAL_PREFIX}:epoch") or 0) == taken_before + shards


def test_a_batch_whose_windows_take_longer_than_a_lease_is_made_smaller(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4 must not stop progress: each reply takes a tenth of the lease time."""
    group_with_symbols(server, client, shards=1)
    worker = next_worker(server, shards=1)
    feed(client, [candle(symbol, 3, 1.0) for symbol in MANY])
    loaded: Any = worker.shards._loading._loaded
    since: Any = time.monotonic
    lease = worker.keys.lease(0)
    passed_s = 0.0

    def and_time_passes(*given: Any) -> Any:
        nonlocal passed_s
        passed_s += worker.settings.lease_seconds / 10
        left_ms: Any = client.pttl(lease)
        client.pexpire(lease, left_ms - worker.settings.lease_ms // 10)
        return loaded(*given)

    monkeypatch.setattr(time, "monotonic", lambda: since() + passed_s)
    worker.shards._loading._loaded = and_time_passes  # type: ignore[assignment,method-assign]
    worker.work_on_a_batch()
    assert list(worker.shards) == [], "its lease has run out"
    while worker.work_on_a_batch():
        assert passed_s < 20 * worker.settings.lease_seconds
    assert windows(worker) == {symbol: [*closes, 1.0] for symbol, closes in EXPECTED.items()}


def give_away(worker: SteppedWorker, client: redis.Redis) -> None:
    """All leases, without a word to the worker."""
    for shard in range(worker.settings.shards):
        client.set(worker.keys.lease(shard), "other:99")
    client.hset(f"{INTERNAL_PREFIX}:members", "other", f"{now_ms(client)}:60000:x")


def now_ms(client: redis.Redis) -> int:
    time: Any = client.time()
    return int(time[0]) * 1_000 + int(time[1]) // 1_000


def test_what_is_loaded_after_the_lease_was_lost_changes_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4: another worker may have changed the window since, and may do so at any time."""
    worked(server, client).shards.release()
    worker = next_small_worker(server)
    before = published(client), counters(client)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    readings = worker.fetch()
    give_away(worker, client)
    worker._process(readings)
    assert (published(client), counters(client)) == before
    assert not any(shard_of(symbol, 16) in worker.shards for symbol in SYMBOLS)


def test_windows_are_complete_although_redis_forgets_the_script_while_it_loads(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: what was asked ahead is refused then, and must be asked again."""
    group_with_symbols(server, client)
    worker = next_worker(server)
    feed(client, [candle(symbol, 3, 1.0) for symbol in MANY])
    loaded: Any = worker.shards._loading._loaded

    def and_forget(*given: Any) -> Any:
        client.script_flush()
        return loaded(*given)

    worker.shards._loading._loaded = and_forget  # type: ignore[assignment,method-assign]
    worker.finish_all()
    assert windows(worker) == {symbol: [*closes, 1.0] for symbol, closes in EXPECTED.items()}


def test_what_is_published_does_not_show_when_windows_are_loaded(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2, G3, G6: before the first candle, or with each batch, by another holder each time."""
    candles = candles_of(SYMBOLS, 0, 2 * FILLED)
    with EmbeddedRedis() as other, other.client() as other_client:
        worker = next_small_worker(other, publish_interval=60)
        feed(other_client, candles)
        work_off(worker)
        expected = published(other_client), counters(other_client)
    next_small_worker(server).release()
    feed(client, candles)
    while counters(client).get("applied", 0) < len(candles):
        worker = next_small_worker(server, publish_interval=60, batch=3)
        worker.work_on_a_batch()
        worker.release()
    assert (published(client), counters(client)) == expected


def test_damage_that_the_first_candle_meets_costs_no_other_symbol(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: the candle comes before there was time to look at its window."""
    worked(server, client).shards.release()
    before = counters(client)
    window = f"{INTERNAL_PREFIX}:window:BTCUSDT"
    in_place_of(window, "SET", window, "x")(client)
    worker = next_small_worker(server)
    assert aside(client) == {}
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    worker.finish_all()
    assert list(aside(client)) == [b"BTCUSDT"]
    [letter] = dead_letters(client)
    assert letter[b"error"] == f"quarantined: {window} holds a string; rename or delete it".encode()
    assert counters(client)["applied"] == before["applied"] + 1
    client.delete(window)
    worker.keep()
    assert aside(client) == {}


def test_what_the_last_holder_had_set_aside_is_looked_at_with_its_next_candle(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: also if so much is set aside that the start does not look at all of it."""
    symbols = tuple(f"S{i}USDT" for i in range(LOOKS_AT_ONCE + 1))
    states = [f"quantum:marketstate:{symbol}" for symbol in symbols]
    worker = next_small_worker(server, shards=1)
    client.mset(dict.fromkeys(states, "x"))
    feed(client, candles_of(symbols, 0, 0))
    worker.finish_all()
    worker.release()
    again = next_small_worker(server, shards=1)
    assert len(aside(client)) == len(symbols)
    client.delete(*states[-1:])
    feed(client, candles_of(symbols, 1, 1))
    again.finish_all()
    assert len(aside(client)) == len(symbols) - 1
    assert counters(client)["applied"] == 1
    assert [letter[b"error"] for letter in dead_letters(client)[len(symbols) :]] == [
        f"quarantined: {state} holds a string; rename or delete it".encode()
        for state in states[:-1]
    ]


def test_what_is_known_of_a_symbol_is_not_loaded_over_it(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: what is set aside for a mistake of ours would be processed again."""
    worked(server, client).shards.release()
    worker = next_small_worker(server)
    worker.shards.set_aside_for_our_mistake(shard_of("BTCUSDT", 16), "BTCUSDT", "a mistake of ours")
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    worker.finish_all()
    [known] = worker.shards.remembered()
    work_off(worker)
    assert [*worker.shards.remembered()] == [known]


def test_marks_that_somebody_has_overwritten_count_as_no_symbols(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: the other shards are taken and kept."""
    first = SteppedWorker(server, "first")
    first.keep()
    client.set(first.keys.marks(3), "not a hash")
    assert len(first.keep()) == 16
