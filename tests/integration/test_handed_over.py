"""A worker that hands entries to the shards of others wakes them."""

from typing import Any

import pytest
import redis

from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.stop import Stop
from tests.support.candles import made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import GROUP, INPUT, INTERNAL_PREFIX, feed

SYMBOLS = [f"SYM{i}USDT" for i in range(40)]
HANDED_OVER = f"{INTERNAL_PREFIX}:handed-over"


def two_workers(server: EmbeddedRedis, **settings: Any) -> tuple[SteppedWorker, SteppedWorker]:
    """Each with half the shards."""
    one = SteppedWorker(server, "one", lease_seconds=3_600, **settings)
    two = SteppedWorker(server, "two", lease_seconds=3_600, **settings)
    for worker in (one, two, one, two):
        worker.keep()
    return one, two


def woken_by(worker: SteppedWorker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The streams that end a wait of the worker; none if its time is over first."""
    client = worker.intake._client
    heard: list[tuple[bytes, Any]] = []
    read = client.xread

    def xread(*arguments: Any) -> Any:
        found: Any = read(*arguments)
        heard.extend(found)

    with monkeypatch.context() as patch:
        patch.setattr(client, "xread", xread)
        worker.intake.wait(0.5, Stop())
    return [name.decode() for name, _ in heard]


def test_a_worker_that_may_not_route_is_woken_by_one_that_hands_it_entries(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G6: also by one that has room for a whole batch, and only once."""
    one, two = two_workers(server, max_pending=20, batch=20)
    ours = [symbol for symbol in SYMBOLS if shard_of(symbol, 16) in [*one.shards]]
    feed(client, made_candles(ours[:1], 20))
    in_hand = one.fetch()
    feed(client, made_candles(SYMBOLS[:20], 1))
    assert two.fetch() == []
    assert woken_by(two, monkeypatch) == []
    one.apply(one.advance(in_hand))
    one.fetch()
    assert woken_by(two, monkeypatch) == [HANDED_OVER]
    assert two.fetch() != []
    assert woken_by(one, monkeypatch) == []
    two.fetch()
    assert woken_by(two, monkeypatch) == []


def test_a_worker_does_not_wake_others_for_its_own_entries(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(SYMBOLS, 3))
    assert worker.finish_all() == 120
    assert client.exists(HANDED_OVER) == 0


def test_restored_entries_older_than_all_that_a_worker_has_seen_wake_it_too(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G6."""
    one, two = two_workers(server)
    feed(client, made_candles(SYMBOLS, 1))
    one.fetch()
    two.fetch()
    for shard in two.shards:
        client.xgroup_delconsumer(INPUT, GROUP, shard_name(shard))
    one.fetch()
    assert woken_by(two, monkeypatch) == [HANDED_OVER]
