"""Symbols that had no candle for long leave memory and Redis, and nothing that is published shows
it; new symbols are bounded.
"""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.worker.engine.changes import History
from marketstate.worker.engine.retirement import RETIRED_AT_ONCE
from marketstate.worker.errors import LeaseLost
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import START_MS, candle, made_candles
from tests.support.feeding import NEEDED
from tests.support.small_workers import small_worker, work_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    INTERNAL_PREFIX,
    counters,
    dead_letters,
    everything,
    expire_leases,
    feed,
    finished,
    group_info,
    published,
)

SILENT, FLOWING = "BTCUSDT", "ETHUSDT"
DAYS_30 = 30 * 24 * 60


def let_time_pass(worker: SteppedWorker, *symbols: str) -> None:
    """Nothing was seen of these symbols, or of all, for longer than any setting says; and the
    worker is about to look for such symbols. The candles of these tests are from 2025.
    """
    for _, symbol, memory in worker.shards.remembered():
        if symbol in symbols or not symbols:
            memory.seen_s = -math.inf
    worker.retirement._next_look_s = 0.0


def in_redis(client: redis.Redis) -> tuple[set[str], set[str]]:
    """The symbols that have a window, and those that have a mark."""
    windows: Any = client.keys(f"{INTERNAL_PREFIX}:window:*")
    marks: Any = [
        symbol
        for shard in client.keys(f"{INTERNAL_PREFIX}:shard:*")
        for symbol in client.hkeys(shard)
    ]
    return (
        {key.decode().rpartition(":")[2] for key in windows},
        {symbol.decode() for symbol in marks},
    )


def remembered(worker: SteppedWorker) -> set[str]:
    return {symbol for _, symbol, _ in worker.shards.remembered()}


def some_candles(symbol: str, numbers: Iterable[int]) -> list[Candle]:
    return [candle(symbol, number, 100 + number % 7 + number % 16 / 16) for number in numbers]


def test_a_silent_symbol_leaves_memory_and_redis_and_is_counted(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server)
    feed(client, made_candles((SILENT, FLOWING), 20))
    work_off(worker)
    let_time_pass(worker, SILENT)
    assert worker.work_on_a_batch()
    assert in_redis(client) == ({FLOWING}, {FLOWING})
    assert remembered(worker) == {FLOWING}
    assert counters(client)["retired"] == 1
    assert finished(client) == 2 * 20
    assert not worker.work_on_a_batch()


def test_many_symbols_retire_some_at_a_time(server: EmbeddedRedis, client: redis.Redis) -> None:
    """So that no commit stops Redis for long, and candles are worked on in between."""
    worker = small_worker(server)
    symbols = [f"JUNK{i}" for i in range(2 * RETIRED_AT_ONCE + 100)]
    feed(client, made_candles(symbols, 1))
    work_off(worker)
    let_time_pass(worker)
    left = []
    while worker.work_on_a_batch():
        left.append(len(remembered(worker)))
    assert left == [RETIRED_AT_ONCE + 100, 100, 0]
    assert in_redis(client) == (set(), set())
    assert counters(client)["retired"] == len(symbols)


def test_a_holder_that_lost_its_lease_retires_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4."""
    paused = small_worker(server, "paused")
    feed(client, made_candles((SILENT,), 20))
    work_off(paused)
    let_time_pass(paused)
    changes = paused.retirement.changes(paused.intake.now_ms())
    assert changes.retired == {shard_of(SILENT, 16): [SILENT]}
    expire_leases(client)
    successor = small_worker(server, "successor")
    feed(client, some_candles(SILENT, [20]))
    successor.finish_all()
    before = everything(client)
    with pytest.raises(LeaseLost):
        paused.apply(changes)
    assert everything(client) == before
    assert remembered(successor) == {SILENT}


@pytest.mark.parametrize("regime_changes", [False, True])
@pytest.mark.parametrize("gap", [DAYS_30, 10 * DAYS_30])
def test_what_is_published_does_not_show_whether_a_symbol_was_retired(
    gap: int, regime_changes: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2, G3: it comes back like a new one; nothing is lost or published twice."""
    before = some_candles(SILENT, range(20))
    after = some_candles(SILENT, range(19 + gap, 19 + gap + 25))
    answers = []
    for retires in (True, False):
        client.flushall()
        worker = small_worker(server, start="replay", emit_on_regime_change=regime_changes)
        feed(client, before)
        work_off(worker)
        if retires:
            let_time_pass(worker)
            work_off(worker)
            assert in_redis(client) == (set(), set())
        feed(client, after[:3])
        work_off(worker)
        window = client.lrange(worker.keys.window(SILENT), 0, -1)
        feed(client, after[3:])
        work_off(worker)
        counts = counters(client)
        assert counts.pop("retired", 0) == retires
        answers.append((published(client), window, counts, worker.shards.room_for_symbols))
    assert answers[0] == answers[1]
    times = [int(entry[b"timestamp"]) for entry in answers[0][0][SILENT]]
    expected = [*before[NEEDED - 1 :], *after[NEEDED - 1 :]]
    assert times == [one.close_time // 1_000 for one in expected]


def test_a_window_that_starts_over_is_filled_from_a_cache_like_a_new_one(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2: whether the symbol was retired before or not."""
    back = 19 + DAYS_30
    cached = some_candles(SILENT, range(back - 15, back))
    answers = []
    for retires in (True, False):
        client.flushall()
        worker = small_worker(server, start="replay", backfill_keys="cache:{symbol}")
        feed(client, some_candles(SILENT, range(20)))
        work_off(worker)
        if retires:
            let_time_pass(worker)
            work_off(worker)
        client.zadd("cache:BTCUSDT", {f"{one.close}": one.close_time - 59_999 for one in cached})
        feed(client, some_candles(SILENT, range(back, back + 3)))
        work_off(worker)
        answers.append(published(client)[SILENT])
    assert answers[0] == answers[1]
    assert int(answers[0][-3][b"timestamp"]) == (START_MS + back * 60_000 + 59_999) // 1_000


def test_a_symbol_is_not_retired_while_its_old_candles_are_fed(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2: duplicates and late candles count as candles too."""
    worker = small_worker(server)
    feed(client, made_candles((SILENT, FLOWING), 20))
    work_off(worker)
    for again in ([20], [20], [3]):
        let_time_pass(worker)
        worker.retirement._next_look_s = math.inf
        feed(client, some_candles(FLOWING, again))
        work_off(worker)
        worker.retirement._next_look_s = 0.0
        work_off(worker)
        assert FLOWING in remembered(worker)
    assert remembered(worker) == {FLOWING}
    assert counters(client)["duplicate"] == counters(client)["late"] == 1


def test_a_symbol_that_has_just_been_loaded_is_not_retired(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Nobody knows what the holder before has seen."""
    first = small_worker(server, "first")
    feed(client, made_candles((SILENT,), 20))
    work_off(first)
    first.shards.release()
    second = small_worker(server, "second")
    second.retirement._next_look_s = 0.0
    assert not second.work_on_a_batch()
    assert remembered(second) == {SILENT}


def test_nothing_is_retired_while_entries_wait(server: EmbeddedRedis, client: redis.Redis) -> None:
    """G2, G3: one of them may be the next candle of a symbol that seems silent."""
    worker = small_worker(server, batch=5)
    feed(client, made_candles((SILENT,), 20))
    work_off(worker)
    let_time_pass(worker)
    feed(client, [*made_candles((FLOWING,), 20), *some_candles(SILENT, [20])])
    work_off(worker)
    assert remembered(worker) == {SILENT, FLOWING}
    assert "retired" not in counters(client)


def test_a_symbol_whose_close_is_not_yet_old_enough_is_not_retired(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """By Redis's clock, whatever the worker's says."""
    worker = small_worker(server)
    time: Any = client.time()
    minutes = (time[0] * 1_000 - START_MS) // 60_000
    feed(client, some_candles(SILENT, [minutes - DAYS_30 + 2]))
    feed(client, some_candles(FLOWING, [minutes - DAYS_30 - 2]))
    work_off(worker)
    let_time_pass(worker)
    work_off(worker)
    assert remembered(worker) == {SILENT}


def test_a_state_that_waits_for_the_wall_clock_is_published_before_its_symbol_retires(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: nothing is lost by it."""
    worker = small_worker(server, start="replay", rate_clock="wall", publish_interval=3_600)
    feed(client, some_candles(SILENT, range(NEEDED)))
    work_off(worker)
    feed(client, some_candles(SILENT, [NEEDED]))
    work_off(worker)
    assert len(published(client)[SILENT]) == 1
    let_time_pass(worker)
    work_off(worker)
    assert remembered(worker) == {SILENT}
    ((_, _, memory),) = worker.shards.remembered()
    memory.mark = memory.mark._replace(published_ms=1)
    worker._next_look_s = 0.0
    work_off(worker)
    assert len(published(client)[SILENT]) == 2
    let_time_pass(worker)
    work_off(worker)
    assert remembered(worker) == set()


@pytest.mark.parametrize("changes", [{"retire_after": "never"}, {"replay_namespace": "a"}])
def test_nothing_is_retired_in_a_replay_or_if_it_is_switched_off(
    changes: dict[str, Any], server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server, **changes)
    feed(client, made_candles((SILENT,), 20), worker.keys.input)
    work_off(worker)
    let_time_pass(worker)
    work_off(worker)
    assert remembered(worker) == {SILENT}
    assert worker.retirement.seconds_to_look == math.inf


def test_a_window_never_starts_over_if_symbols_never_retire(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server, start="replay", retire_after="never", max_gap=10**9)
    feed(client, some_candles(SILENT, [*range(20), 10 * DAYS_30]))
    work_off(worker)
    assert int(published(client)[SILENT][-1][b"timestamp"]) > START_MS // 1_000 + 9 * DAYS_30 * 60
    assert counters(client)["gap"] == 1


def test_a_worker_that_crashes_after_a_retirement_loads_what_is_left(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3."""
    worker = small_worker(server)
    feed(client, made_candles((SILENT, FLOWING), 20))
    work_off(worker)
    let_time_pass(worker, SILENT)
    work_off(worker)
    expire_leases(client)
    assert remembered(small_worker(server, "next")) == {FLOWING}


def test_entries_of_new_symbols_above_the_limit_are_dead_letters(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: the symbols that are known go on, in this worker and in the next."""
    worker = small_worker(server, max_symbols=3, batch=4)
    feed(client, made_candles([f"SYM{i}" for i in range(5)], 2))
    work_off(worker)
    known = {"SYM0", "SYM1", "SYM2"}
    assert in_redis(client) == (known, known)
    assert counters(client) == {"applied": 6, "dead": 4}
    assert {(entry[b"source_id"] != b"", entry[b"error"]) for entry in dead_letters(client)} == {
        (
            True,
            b"its symbol is new, and the group has 3 symbols, as many as "
            b"MARKETSTATE_MAX_SYMBOLS allows",
        )
    }
    worker.shards.release()
    other = small_worker(server, "other", max_symbols=3)
    feed(client, made_candles([f"SYM{i}" for i in range(5)], 3)[-5:])
    work_off(other)
    assert counters(client) == {"applied": 9, "dead": 6}
    assert group_info(client)["pending"] == 0


def test_symbols_that_retire_make_room_for_new_ones(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server, max_symbols=1)
    feed(client, made_candles((SILENT,), 1))
    work_off(worker)
    let_time_pass(worker)
    work_off(worker)
    feed(client, made_candles((FLOWING,), 1))
    work_off(worker)
    assert remembered(worker) == {FLOWING}


def test_a_worker_without_room_sees_at_once_what_others_have_retired(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: otherwise its new symbols would be dead letters for as long as it had been idle."""
    worker = small_worker(server, max_symbols=1)
    feed(client, made_candles((SILENT,), 1))
    work_off(worker)
    worker.keep()
    assert worker.shards.room_for_symbols == 0
    client.hdel(worker.keys.marks(shard_of(SILENT, worker.settings.shards)), SILENT)
    worker.keep()
    assert worker.shards.room_for_symbols == 1


def test_a_new_symbol_above_the_limit_costs_no_look_into_the_caches(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server, max_symbols=1)
    feed(client, made_candles([f"SYM{i}" for i in range(5)], 1))
    asked = []

    def older(symbol: str, *_: object) -> History:
        asked.append(symbol)
        return (), ()

    worker.pipeline.advance(worker.fetch(), worker.shards.memory, older, room=1)
    assert asked == ["SYM0"]
