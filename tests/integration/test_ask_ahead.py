"""Asking for the next entries while the current batch is calculated: none twice, none skipped."""

from collections.abc import Callable, Iterable

import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.worker.engine.batch_size import AFTER_A_PAUSE
from marketstate.worker.errors import LeaseLost
from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.stop import Stop
from tests.support.candles import candle, made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import GROUP, INPUT, counters, expire_leases, feed, group_info

SYMBOLS = [f"SYM{i}USDT" for i in range(20)]
ONE_SHARD = "BTCUSDT"


def fed_worker(
    server: EmbeddedRedis, client: redis.Redis, candles: Iterable[Candle], *, batch: int = 5
) -> SteppedWorker:
    """It holds all shards, and `candles` wait in the stream."""
    worker = SteppedWorker(server, "one", batch=batch)
    worker.keep()
    feed(client, candles)
    return worker


def test_every_entry_is_delivered_once_and_in_order_when_asking_ahead(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1, G3."""
    worker = fed_worker(
        server, client, [candle(symbol, i, 1.0) for i in range(5) for symbol in SYMBOLS], batch=7
    )
    seen: dict[int, list[tuple[int, int]]] = {}
    while readings := worker.fetch():
        for reading in readings:
            seen.setdefault(reading.entry.shard, []).append(reading.order)
        worker.apply(worker.advance(readings, ask_ahead=True))
    assert all(sorted(set(orders)) == orders for orders in seen.values())
    assert sum(map(len, seen.values())) == 100
    assert counters(client) == {"applied": 100}
    assert group_info(client)["pending"] == 0


def test_batches_grow_only_while_more_is_waiting(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was asked for when batches were smaller does not look like the last one."""
    worker = fed_worker(server, client, made_candles(SYMBOLS, 50), batch=500)
    worker.batch_size.most = 64
    seen: list[int] = []
    fetch = worker.intake.fetch

    def noted(most: int) -> object:
        readings = fetch(most)
        seen.append(len(readings))
        return readings

    monkeypatch.setattr(worker.intake, "fetch", noted)
    while worker.work_on_a_batch():
        pass
    assert seen == [64, 64, 128, 256, 488, 0]
    assert worker.batch_size.most == AFTER_A_PAUSE


def test_batches_grow_while_more_is_waiting_of_which_others_get_a_part(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Of the entries that it routes, a worker has only those of its own shards."""
    one, two = (SteppedWorker(server, worker_id, batch=500) for worker_id in ("one", "two"))
    for worker in (one, two, one, two):
        worker.keep()
    feed(client, made_candles(SYMBOLS, 50))
    one.batch_size.most = AFTER_A_PAUSE
    one.work_on_a_batch()
    assert one.batch_size.most == 2 * AFTER_A_PAUSE


def test_older_entries_of_other_shards_are_not_forgotten_after_the_current_batch(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: a batch takes only some of the pending entries; the rest comes with later batches."""
    worker = fed_worker(server, client, made_candles(SYMBOLS, 5), batch=100)
    worker.fetch()
    worker.batch_size.most = 3
    assert worker.finish_all(ask_ahead=True) == 100
    assert counters(client) == {"applied": 100}


def test_an_answer_from_before_a_lease_was_lost_and_taken_again_is_not_used(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4: another worker has finished those entries in the meantime."""
    one = fed_worker(server, client, made_candles((ONE_SHARD,), 15))
    changes = one.advance(one.fetch(), ask_ahead=True)
    expire_leases(client)
    two = SteppedWorker(server, "two")
    two.keep()
    assert two.finish_all() == 15
    two.shards.release()
    with pytest.raises(LeaseLost) as lost:
        one.apply(changes)
    one.shards.drop(lost.value.shards)
    one.keep()
    assert one.fetch() == []
    assert counters(client) == {"applied": 15}


def test_scripts_that_redis_forgot_are_loaded_again(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = fed_worker(server, client, made_candles((ONE_SHARD,), 15))
    readings = worker.fetch()
    client.script_flush()
    worker.apply(worker.advance(readings, ask_ahead=True))
    assert worker.finish_all(ask_ahead=True) == 10
    assert counters(client) == {"applied": 15}


def test_a_consumer_deleted_during_a_batch_loses_and_repeats_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G5: they are restored with the others, and finished with the batch."""
    worker = fed_worker(server, client, made_candles((ONE_SHARD,), 15))
    readings = worker.fetch()
    feed(client, [candle(ONE_SHARD, i, 1.0) for i in range(15, 20)])
    worker.intake.fetch(10)
    client.xgroup_delconsumer(INPUT, GROUP, shard_name(shard_of(ONE_SHARD, 16)))
    worker.apply(worker.advance(readings, ask_ahead=True))
    assert worker.finish_all(ask_ahead=True) == 15
    assert counters(client) == {"applied": 20}
    assert group_info(client)["pending"] == 0


@pytest.mark.parametrize("next_command", ["wait", "keep", "leave"])
def test_whatever_is_sent_next_gets_its_own_reply(
    next_command: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: an error between the question and the commit does no harm; the leases are released."""
    worker = fed_worker(server, client, made_candles((ONE_SHARD,), 15))
    worker.intake.ask_ahead(worker.fetch(), 5)
    next_commands: dict[str, Callable[[], object]] = {
        "wait": lambda: worker.intake.wait(0.001, Stop()),
        "keep": worker.keep,
        "leave": worker.leave,
    }
    next_commands[next_command]()
    worker.leave()
    assert [shard for shard in range(16) if client.exists(worker.keys.lease(shard))] == []


def test_the_answer_has_the_entries_after_the_current_batch(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Otherwise asking ahead would be useless, and only the bench would show it."""
    worker = fed_worker(server, client, made_candles((ONE_SHARD,), 12))
    seen = worker.fetch()
    for expected in (5, 2):
        worker.intake.ask_ahead(seen, 5)
        answer = worker.fetch()
        assert len(answer) == expected
        seen += answer
    orders = [reading.order for reading in seen]
    assert orders == sorted(set(orders))
