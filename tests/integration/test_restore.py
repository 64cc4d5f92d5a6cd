"""How entries are restored that were handed over, are not finished and are no longer pending."""

from typing import Any

import msgspec
import pytest
import redis

from marketstate.worker.errors import RedisUnusable
from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle, made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    OUTPUT,
    counters,
    feed,
    group_info,
)

BTC = shard_name(shard_of("BTCUSDT", 16))
META = f"{INTERNAL_PREFIX}:meta"
IN_A_SLICE = 2_000


def delete_the_consumer(client: redis.Redis) -> None:
    client.xgroup_delconsumer(INPUT, GROUP, BTC)


def acknowledge_by_hand(client: redis.Redis) -> None:
    pending: Any = client.xpending_range(INPUT, GROUP, "-", "+", 1)
    client.xack(INPUT, GROUP, pending[0]["message_id"])


@pytest.mark.parametrize("takes_away", [delete_the_consumer, acknowledge_by_hand])
def test_what_a_new_group_was_to_skip_is_never_restored(
    takes_away: Any, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: also when the shard has finished nothing yet."""
    candles = made_candles(("BTCUSDT",), 400)
    feed(client, candles[:399])
    worker = SteppedWorker(server, "one", start="new")
    worker.keep()
    feed(client, candles[399:])
    worker.fetch()
    takes_away(client)
    assert worker.finish_all() == 1
    assert counters(client) == {"applied": 1}
    assert client.xlen(OUTPUT) == 0


@pytest.mark.parametrize("start", ["warm", "replay"])
def test_what_was_there_before_the_group_is_restored_where_it_is_to_be_read(
    start: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5."""
    feed(client, made_candles(("BTCUSDT",), 30))
    worker = SteppedWorker(server, "one", start=start)
    worker.keep()
    worker.fetch()
    delete_the_consumer(client)
    assert worker.finish_all() == 30
    assert counters(client) == {"applied": 30}


@pytest.mark.parametrize("name", ["start_id", "warm_until_id"])
def test_a_damaged_id_in_meta_is_named_when_a_worker_starts(
    name: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    SteppedWorker(server, "one")
    client.hset(META, name, b"\xff-1")
    with pytest.raises(RedisUnusable, match=f"the field {name} of {META} is .* not an entry id"):
        SteppedWorker(server, "two")
    client.hset(META, name, "0-0")
    SteppedWorker(server, "two")


def quiet_symbol_in_a_long_stream(
    server: EmbeddedRedis, client: redis.Redis, entries: int
) -> SteppedWorker:
    """A worker; BTCUSDT has ten entries at the start and ten at the end, all routed and unfinished,
    and all others are finished.
    """
    worker = SteppedWorker(server, "one", max_pending=10**6, batch=10**6, lease_seconds=3_600)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 10))
    open_one = msgspec.structs.replace(candle("ETHUSDT", 1, 1.0), is_closed=False)
    feed(client, [open_one] * entries)
    feed(client, made_candles(("BTCUSDT",), 20)[10:])
    readings = worker.fetch()
    others = [reading for reading in readings if shard_name(reading.entry.shard) != BTC]
    worker.apply(worker.advance(others))
    return worker


def count_keeps(worker: SteppedWorker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each call of `keep`."""
    calls: list[int] = []
    keep = worker.shards.keep

    def counted() -> None:
        calls.append(1)
        keep()

    monkeypatch.setattr(worker.shards, "keep", counted)
    return calls


def test_a_long_stream_is_looked_through_in_slices_and_leases_are_kept_in_between(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G5, G6: no single script runs for as long as the stream is long."""
    worker = quiet_symbol_in_a_long_stream(server, client, 3 * IN_A_SLICE)
    delete_the_consumer(client)
    keeps = count_keeps(worker, monkeypatch)
    assert [reading.entry.shard for reading in worker.fetch()] == [shard_of("BTCUSDT", 16)] * 20
    assert len(keeps) == 4
    worker.finish_all()
    assert counters(client) == {"applied": 20, "unclosed": 3 * IN_A_SLICE}
    assert not client.hexists(META, "restoring")


def test_nothing_newer_is_routed_during_a_restoration_and_another_worker_can_finish_it(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G5: what a foreign reader took counts as pending before everything has been looked
    through, so their number alone would let newer entries pass.
    """
    worker = quiet_symbol_in_a_long_stream(server, client, 2 * IN_A_SLICE)
    feed(client, made_candles(("BTCUSDT",), 40)[20:])
    client.xreadgroup(GROUP, "foreign", {INPUT: ">"}, count=20, noack=True)
    delete_the_consumer(client)
    feed(client, made_candles(("BTCUSDT",), 41)[40:])

    def stops() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker.shards, "keep", stops)
    with pytest.raises(KeyboardInterrupt):
        worker.fetch()
    monkeypatch.undo()
    assert group_info(client)["pending"] == 10
    other = SteppedWorker(server, "two")
    other.fetch()
    worker.finish_all()
    assert counters(client) == {"applied": 41, "unclosed": 2 * IN_A_SLICE}


def test_entries_that_are_taken_away_behind_a_slice_are_looked_for_again(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G5: they are there, so they are not lost."""
    worker = quiet_symbol_in_a_long_stream(server, client, 3 * IN_A_SLICE)
    delete_the_consumer(client)
    keep, slices = worker.shards.keep, []

    def takes_away_once() -> None:
        slices.append(1)
        if len(slices) == 2:
            delete_the_consumer(client)
        keep()

    monkeypatch.setattr(worker.shards, "keep", takes_away_once)
    worker.finish_all()
    assert counters(client) == {"applied": 20, "unclosed": 3 * IN_A_SLICE}


def test_damaged_progress_of_a_restoration_is_ignored(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 10))
    worker.fetch()
    delete_the_consumer(client)
    client.hset(META, "restoring", b"\xc1")
    assert worker.finish_all() == 10
    assert counters(client) == {"applied": 10}
