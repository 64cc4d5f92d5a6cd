"""Scripts limit what they read by size: huge entries must not block Redis for long."""

from typing import Any

import pytest
import redis

from marketstate.worker.keys import shard_name
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
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

BYTES = 400_000
AT_ONCE = 8 * 1024 * 1024 // BYTES + 1
MONSTERS = 60


def feed_monsters(client: redis.Redis, count: int = MONSTERS) -> None:
    """Without a symbol, so of shard 0."""
    feed_fields(client, [{"payload": b"x" * BYTES}] * count)


def pending(client: redis.Redis) -> dict[bytes, int]:
    summary: Any = client.xpending(INPUT, GROUP)
    return {one["name"]: one["pending"] for one in summary["consumers"]}


def test_no_more_is_routed_at_once_than_a_script_can_read(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5, G8: and a script that stops early does not report that it has read everything."""
    worker = SteppedWorker(server, "one", lease_seconds=3_600)
    worker.keep()
    feed_monsters(client)
    for routed in (AT_ONCE, 2 * AT_ONCE):
        assert len(worker.fetch()) == AT_ONCE
        assert sum(pending(client).values()) == routed
        assert group_info(client).get("lag", MONSTERS - routed) == MONSTERS - routed
    assert worker.finish_all() == MONSTERS
    assert counters(client) == {"dead": MONSTERS}
    assert group_info(client).get("lag", 0) == 0


def test_small_entries_before_them_do_not_let_many_large_ones_pass(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The average size so far does not predict the next entries, so steps grow slowly."""
    worker = SteppedWorker(server, "one", lease_seconds=3_600)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 20))
    feed_monsters(client, 300)
    worker.fetch()
    assert sum(pending(client).values()) == 16 + 8 * 16
    assert worker.finish_all() == 320


def test_entries_that_somebody_else_took_are_handed_over_by_their_size(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = SteppedWorker(server, "one", lease_seconds=3_600)
    worker.keep()
    feed_monsters(client)
    client.xreadgroup(GROUP, "debug", {INPUT: ">"}, count=MONSTERS)
    scripts_before = scripts_run(client)
    worker.fetch()
    assert pending(client) == {shard_name(0).encode(): MONSTERS}
    # Three for the strays, and one that reads.
    assert scripts_run(client) - scripts_before == 4
    assert worker.finish_all() == MONSTERS


def test_entries_that_are_restored_are_looked_through_by_their_size(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = SteppedWorker(server, "one", lease_seconds=3_600)
    worker.keep()
    feed_monsters(client)
    while sum(pending(client).values()) < MONSTERS:
        worker.fetch()
    client.xgroup_delconsumer(INPUT, GROUP, shard_name(0))
    scripts_before = scripts_run(client)
    worker.fetch()
    assert pending(client) == {shard_name(0).encode(): MONSTERS}
    # Three slices, before each of them one that finds entries missing, and one that reads.
    assert scripts_run(client) - scripts_before == 7
    assert worker.finish_all() == MONSTERS
    assert client.hget(f"{INTERNAL_PREFIX}:unfinished", shard_name(0)) == b"0"


def scripts_run(client: redis.Redis) -> int:
    info: Any = client.info("commandstats")
    stats: dict[str, int] = info["cmdstat_evalsha"]
    # A script that this server did not know yet is called twice.
    return stats["calls"] - stats.get("failed_calls", 0)


@pytest.mark.parametrize("router_has_shards", [True, False])
def test_a_shard_of_monsters_is_read_by_their_size_by_who_takes_it_over(
    router_has_shards: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    router = SteppedWorker(server, "router", lease_seconds=3_600)
    if router_has_shards:
        router.keep()
    feed_monsters(client)
    while sum(pending(client).values()) < MONSTERS:
        router.fetch()
    router.shards.release()
    taker = SteppedWorker(server, "taker", lease_seconds=3_600)
    taker.keep()
    assert len(taker.fetch()) == AT_ONCE
    assert taker.finish_all() == MONSTERS
