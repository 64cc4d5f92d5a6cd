"""Asking for the next entries while the current batch is calculated: none twice, none skipped."""

import pytest
import redis

from tests.support.candles import candle, made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import GROUP, INPUT, counters, expire_leases, feed, group_info
from worker.errors import LeaseLost
from worker.keys import shard_name, shard_of
from worker.local.redis_server import EmbeddedRedis

SYMBOLS = [f"SYM{i}USDT" for i in range(20)]
ONE_SHARD = "BTCUSDT"


def test_every_entry_is_delivered_once_and_in_order_when_asking_ahead(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1, G3."""
    worker = SteppedWorker(server, "one", batch=7)
    worker.keep()
    feed(client, [candle(symbol, i, 1.0) for i in range(5) for symbol in SYMBOLS])
    seen: dict[int, list[tuple[int, int]]] = {}
    while readings := worker.fetch():
        for reading in readings:
            seen.setdefault(reading.entry.shard, []).append(reading.order)
        worker.apply(worker.advance(readings, ask_ahead=True))
    assert all(sorted(set(orders)) == orders for orders in seen.values())
    assert 100 == sum(map(len, seen.values())) == counters(client)["applied"]
    assert counters(client) == {"applied": 100}
    assert group_info(client)["pending"] == 0


def test_older_entries_of_other_shards_are_not_forgotten_after_the_current_batch(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: a batch takes only some of the pending entries; the rest comes with later batches."""
    worker = SteppedWorker(server, "one", batch=100)
    worker.keep()
    feed(client, made_candles(SYMBOLS, 5))
    worker.fetch()
    worker.pace.most = 3
    assert worker.finish_all(ask_ahead=True) == 100
    assert counters(client) == {"applied": 100}


def test_an_answer_from_before_a_lease_was_lost_and_taken_again_is_not_used(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4: another worker has finished those entries in the meantime."""
    one = SteppedWorker(server, "one", batch=5)
    one.keep()
    feed(client, made_candles((ONE_SHARD,), 15))
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
    worker = SteppedWorker(server, "one", batch=5)
    worker.keep()
    feed(client, made_candles((ONE_SHARD,), 15))
    readings = worker.fetch()
    client.script_flush()
    worker.apply(worker.advance(readings, ask_ahead=True))
    assert worker.finish_all(ask_ahead=True) == 10
    assert counters(client) == {"applied": 15}


def test_a_consumer_deleted_during_a_batch_loses_and_repeats_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G5: the batch's entries are restored with the others, and finished with the batch."""
    worker = SteppedWorker(server, "one", batch=5)
    worker.keep()
    feed(client, made_candles((ONE_SHARD,), 15))
    readings = worker.fetch()
    feed(client, [candle(ONE_SHARD, i, 1.0) for i in range(15, 20)])
    worker.intake.fetch(worker.shards, 10)
    client.xgroup_delconsumer(INPUT, GROUP, shard_name(shard_of(ONE_SHARD, 16)))
    worker.apply(worker.advance(readings, ask_ahead=True))
    assert worker.finish_all(ask_ahead=True) == 15
    assert counters(client) == {"applied": 20}
    assert group_info(client)["pending"] == 0


def test_the_answer_has_the_entries_after_the_current_batch(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Otherwise asking ahead would be useless, and only the bench would show it."""
    worker = SteppedWorker(server, "one", batch=5)
    worker.keep()
    feed(client, made_candles((ONE_SHARD,), 12))
    seen = [reading.entry for reading in worker.fetch()]
    for expected in (5, 2):
        worker.intake.ask_ahead(worker.shards, 5, seen)
        answer = worker.intake.answer()
        assert len(answer) == expected
        seen += answer
    orders = [entry.order for entry in seen]
    assert orders == sorted(set(orders))
