"""Routing and backlog: order, the limit on pending entries, and what was trimmed unread."""

from typing import Any

import pytest
import redis

from marketstate.worker.keys import INTAKE, shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import as_envelope, candle, made_candles
from tests.support.lua_shims import (
    NOBODY_HAS_WHAT_THE_CONSUMER_NOBODY_HAS,
    put_before_every_script,
)
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    counters,
    feed,
    feed_fields,
    group_info,
)


def knows_lag(client: redis.Redis) -> bool:
    info: Any = client.info("server")
    return not info["redis_version"].startswith("6.")


def backlog(client: redis.Redis) -> tuple[int | None, int]:
    """What XINFO GROUPS shows: lag (None on Redis 6.2) and pending."""
    info = group_info(client)
    return info.get("lag"), info["pending"]


def test_each_shard_gets_its_symbols_in_stream_order_and_the_intake_keeps_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1."""
    worker = SteppedWorker(server, "one", batch=7)
    worker.keep()
    symbols = [f"SYM{i}USDT" for i in range(40)]
    feed(client, [candle(symbol, i, 1.0) for i in range(3) for symbol in symbols])
    seen: dict[int, list[tuple[int, int]]] = {}
    while readings := worker.fetch():
        assert len(readings) <= 7
        for reading in readings:
            seen.setdefault(reading.entry.shard, []).append(reading.order)
        worker.apply(worker.advance(readings))
    assert all(sorted(orders) == orders for orders in seen.values())
    assert sum(map(len, seen.values())) == counters(client)["applied"] == 120
    assert seen.keys() == {shard_of(symbol, 16) for symbol in symbols}
    summary: Any = client.xpending(INPUT, GROUP)
    assert summary["pending"] == 0


def test_many_entries_that_are_routed_at_once_arrive_as_they_are(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1, G5: their text comes in several pieces."""
    worker = SteppedWorker(server, "one", batch=500)
    worker.keep()
    candles = [candle(f"SYM{i % 40}USDT", i // 40, 1.0 + i) for i in range(240)]
    feed(client, candles)
    found = sorted(worker.fetch(), key=lambda reading: reading.order)
    assert [reading.found for reading in found] == candles


def test_routing_stops_at_the_limit_on_pending_entries_and_lag_shows_the_rest(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G8."""
    worker = SteppedWorker(server, "one", batch=50, max_pending=120)
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 200))
    for expected_pending in (50, 100, 120, 120):
        worker.fetch()
        lag, pending = backlog(client)
        assert pending == expected_pending
        assert lag == (400 - pending if knows_lag(client) else None)
    assert worker.finish_all() == 400
    assert backlog(client) == (0 if knows_lag(client) else None, 0)


def test_an_entry_trimmed_after_it_was_routed_is_counted_as_lost(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 10))
    worker.fetch()
    client.xtrim(INPUT, maxlen=15, approximate=False)
    assert worker.finish_all() == 20
    assert counters(client) == {"applied": 15, "lost": 5}
    assert group_info(client)["pending"] == 0


@pytest.mark.parametrize("routed_before", [0, 4, 20])
def test_entries_trimmed_before_they_were_routed_are_counted_as_lost_and_lag_is_corrected(
    routed_before: int,
    server: EmbeddedRedis,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G5, G8: `lag` is correct again immediately, also while there is more to read.

    Redis 6.2 counts neither added entries nor a lag: there the log says where entries may be
    missing, if any were read before.
    """
    counts = knows_lag(client)
    worker = SteppedWorker(server, "one", batch=4)
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), routed_before // 2))
    worker.finish_all()
    feed(client, made_candles(("SOLUSDT", "XRPUSDT"), 10))
    client.xtrim(INPUT, maxlen=13, approximate=False)
    lost = {"lost": 7} if counts else {}
    worker.fetch()
    assert backlog(client) == (9 if counts else None, 4)
    assert worker.finish_all() == 13
    assert counters(client) == {"applied": routed_before + 13} | lost
    assert backlog(client) == (0 if counts else None, 0)
    if counts:
        assert "7 entries of quantum:stream:market.klines were trimmed" in caplog.text
    else:
        assert ("may have been trimmed" in caplog.text) == (routed_before > 0)


def test_entries_deleted_in_the_middle_are_counted_when_all_the_rest_is_read(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5, G8."""
    worker = SteppedWorker(server, "one", batch=4)
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 10))
    worker.fetch()
    entries: Any = client.xrange(INPUT)
    for entry_id, _ in entries[10:13]:
        client.xdel(INPUT, entry_id)
    assert worker.finish_all() == 17
    lost = {"lost": 3} if knows_lag(client) else {}
    assert {name: count for name, count in counters(client).items() if name != "gap"} == {
        "applied": 17
    } | lost
    assert backlog(client) == (0 if knows_lag(client) else None, 0)


def test_entries_left_with_the_intake_are_routed_first(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1: the intake's own list is empty, unless someone put something there."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 5))
    worker.fetch()
    first: Any = client.xpending_range(INPUT, GROUP, "-", "+", 4)
    client.xclaim(INPUT, GROUP, INTAKE, 0, [entry["message_id"] for entry in first])
    assert worker.finish_all() == 10
    assert counters(client) == {"applied": 10}
    assert backlog(client) == (0 if knows_lag(client) else None, 0)


@pytest.mark.parametrize("trimmed", [0, 3])
def test_the_entries_of_a_deleted_consumer_are_not_lost(
    trimmed: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1, G5: they are pending again before anything newer is routed; lost ones are counted."""
    worker = SteppedWorker(server, "one", batch=6)
    worker.keep()
    candles = made_candles(("BTCUSDT", "ETHUSDT"), 20)
    feed(client, candles[:30])
    for _ in range(3):
        worker.apply(worker.advance(worker.fetch()))
    in_hand = worker.advance(worker.fetch())
    for symbol in ("BTCUSDT", "ETHUSDT"):
        client.xgroup_delconsumer(INPUT, GROUP, shard_name(shard_of(symbol, 16)))
    worker.apply(in_hand)
    feed(client, candles[30:])
    if trimmed:
        while backlog(client)[1] < 40 - counters(client)["applied"]:
            worker.fetch()
        btc = shard_name(shard_of("BTCUSDT", 16))
        client.xgroup_delconsumer(INPUT, GROUP, btc)
        finished: Any = client.hget(f"{INTERNAL_PREFIX}:finished-ids", btc)
        newer: Any = client.xrange(INPUT, b"(" + finished)
        ids = [entry_id for entry_id, fields in newer if b"BTCUSDT" in fields[b"payload"]]
        client.xdel(INPUT, *ids[:trimmed])
    worker.finish_all()
    found = counters(client)
    assert found["applied"] + found.get("lost", 0) == 40
    assert found.get("lost", 0) == trimmed
    assert found.keys() <= {"applied", "lost", "gap"}
    assert backlog(client) == (0 if knows_lag(client) else None, 0)


def test_entries_that_other_consumers_took_keep_their_order(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1, G5: nothing is read before all older entries are with their shards."""
    worker = SteppedWorker(server, "one", batch=16)
    worker.keep()
    symbols = [f"SYM{i}USDT" for i in range(8)]
    candles = made_candles(symbols, 40)
    feed(client, candles[:45])
    for i in range(8):
        client.xreadgroup(GROUP, f"debug-{i}", {INPUT: ">"}, count=5)
    assert worker.finish_all() == 45
    feed(client, candles[45:])
    for _ in range(8):
        worker.fetch()
    client.xautoclaim(INPUT, GROUP, "thief", 0, count=100)
    assert worker.finish_all() == 275
    assert counters(client) == {"applied": 320}
    assert backlog(client) == (0 if knows_lag(client) else None, 0)


def test_entries_that_another_consumer_took_and_that_were_trimmed_are_lost_once(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5. On Redis 6.2, entries that only other consumers have read cannot be counted."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 10))
    client.xreadgroup(GROUP, "debug", {INPUT: ">"}, count=5)
    client.xtrim(INPUT, maxlen=15, approximate=False)
    worker.finish_all()
    lost = {"lost": 5} if knows_lag(client) else {}
    assert counters(client) == {"applied": 15} | lost
    assert backlog(client) == (0 if knows_lag(client) else None, 0)


def test_entries_that_another_consumer_took_are_routed_first(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G1, G5."""
    worker = SteppedWorker(server, "one", batch=7, max_pending=20)
    worker.keep()
    candles = made_candles(("BTCUSDT", "ETHUSDT"), 30)
    feed(client, candles[:40])
    client.xreadgroup(GROUP, "debug", {INPUT: ">"}, count=25)
    feed(client, candles[40:])
    assert worker.finish_all() == 60
    assert counters(client) == {"applied": 60}
    assert backlog(client) == (0 if knows_lag(client) else None, 0)
    assert "the consumer 'debug' held entries of group marketstate" in caplog.text


def test_the_group_shows_its_shards_as_consumers(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G8."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed_fields(client, [as_envelope(candle("BTCUSDT", 1, 1.0))])
    worker.fetch()
    consumers: Any = client.xinfo_consumers(INPUT, GROUP)
    pending = {consumer["name"].decode(): consumer["pending"] for consumer in consumers}
    assert pending == {INTAKE: 0, shard_name(shard_of("BTCUSDT", 16)): 1}


def test_entries_that_no_consumer_has_are_handed_to_their_shards_first(
    server: EmbeddedRedis,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G1, G5: as XNACK of Redis 8.8 leaves them; here another Redis answers like it."""
    put_before_every_script(monkeypatch, NOBODY_HAS_WHAT_THE_CONSUMER_NOBODY_HAS)
    worker = SteppedWorker(server, "one", batch=100)
    worker.keep()
    candles = made_candles(("BTCUSDT", "ETHUSDT"), 500)
    feed(client, candles[:10])
    worker.fetch()
    feed(client, candles[10:900])
    client.xreadgroup(GROUP, "nobody", {INPUT: ">"}, count=800)
    feed(client, candles[900:])
    assert worker.finish_all() == 1_000
    assert {k: n for k, n in counters(client).items() if k != "emitted"} == {"applied": 1_000}
    assert backlog(client) == (0 if knows_lag(client) else None, 0)
    assert "the consumer 'intake' held entries" in caplog.text
