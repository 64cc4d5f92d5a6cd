"""Redis goes back to older data without breaking a connection: a replica that is behind is copied
over its master, or takes its place.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.engine.changes import Changes
from marketstate.worker.engine.commit import Commit
from marketstate.worker.engine.loop import run
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.errors import RolledBack
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.stop import Stop
from tests.support.candles import made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    INTERNAL_PREFIX,
    counters,
    everything,
    feed,
    finished,
    go_back_to,
    published,
    snapshot,
    wait_until,
)

CANDLES = made_candles(("BTCUSDT", "ETHUSDT", "SOLUSDT"), 310)
REPLICATED, ALL_BEFORE = 3 * 270, 3 * 290


@pytest.fixture
def pair(server_binary: Path) -> Iterator[tuple[EmbeddedRedis, EmbeddedRedis]]:
    """A server, and one that copies it."""
    at_once = ("--repl-diskless-sync-delay", "0")
    with (
        EmbeddedRedis(server_binary, *at_once) as server,
        EmbeddedRedis(server_binary, *at_once) as other,
    ):
        yield server, other


def copy(source: EmbeddedRedis, target: EmbeddedRedis) -> None:
    """What is in `source` replaces what is in `target`."""
    with source.client() as from_there, target.client() as client:
        client.replicaof("127.0.0.1", source.port)
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "it is there")
        wait_until(lambda: from_there.wait(1, 100) == 1, "all of it is there")
        client.replicaof("NO", "ONE")


def outcome(client: redis.Redis) -> tuple[Any, ...]:
    windows = {key: client.lrange(key, 0, -1) for key in client.keys(f"{INTERNAL_PREFIX}:window:*")}
    return published(client), counters(client), windows


def expected_outcome(server: EmbeddedRedis) -> tuple[Any, ...]:
    with server.client() as client:
        worker = SteppedWorker(server, "undisturbed")
        worker.keep()
        feed(client, CANDLES)
        worker.finish_all()
        found = outcome(client)
        client.flushall()
        return found


def finish_in_a_new_session(server: EmbeddedRedis, worker: SteppedWorker) -> None:
    """As the worker does it itself, after it has noticed that Redis went back."""
    again = SteppedWorker(server, "one", incarnation=worker.shards._incarnation)
    again.keep()
    again.finish_all()


@pytest.mark.parametrize("batch", ["in hand", "fetched afterwards"])
def test_a_replica_that_is_behind_and_copied_back_costs_nothing(
    batch: str, pair: tuple[EmbeddedRedis, EmbeddedRedis]
) -> None:
    """G3: tokens still match, and the worker's windows are ahead of those in Redis. Nothing is
    written; the next session has the windows that are there, and the upstream sends again what
    was lost.
    """
    server, other = pair
    expected = expected_outcome(server)
    with server.client() as client:
        worker = SteppedWorker(server, "one")
        worker.keep()
        feed(client, CANDLES[:REPLICATED])
        worker.finish_all()
        copy(server, other)
        feed(client, CANDLES[REPLICATED:ALL_BEFORE])
        worker.finish_all()
        if batch == "in hand":
            feed(client, CANDLES[ALL_BEFORE : ALL_BEFORE + 9])
            changes = worker.advance(worker.fetch())
            copy(other, server)
            feed(client, CANDLES[REPLICATED:])
        else:
            copy(other, server)
            feed(client, CANDLES[REPLICATED:])
            changes = worker.advance(worker.fetch())
        assert finished(client) == REPLICATED
        before = everything(client)
        with pytest.raises(RolledBack):
            worker.apply(changes)
        assert everything(client) == before

        finish_in_a_new_session(server, worker)
        assert outcome(client) == expected


def test_entries_that_redis_does_not_have_any_more_are_not_committed(
    pair: tuple[EmbeddedRedis, EmbeddedRedis],
) -> None:
    """G3: no commit was lost, but the entries in hand are. The upstream sends them again, and each
    is applied once.
    """
    server, other = pair
    expected = expected_outcome(server)
    with server.client() as client:
        worker = SteppedWorker(server, "one")
        worker.keep()
        feed(client, CANDLES[:REPLICATED])
        worker.finish_all()
        copy(server, other)
        feed(client, CANDLES[REPLICATED : REPLICATED + 9])
        changes = worker.advance(worker.fetch())
        copy(other, server)
        before = everything(client)
        with pytest.raises(RolledBack, match="is not there, or not routed yet"):
            worker.apply(changes)
        assert everything(client) == before

        feed(client, CANDLES[REPLICATED:])
        finish_in_a_new_session(server, worker)
        assert outcome(client) == expected


def test_entries_that_redis_has_but_has_not_routed_any_more_are_not_committed(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: it went back to the moment before they were routed. They are routed and applied once."""
    expected = expected_outcome(server)
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, CANDLES[:REPLICATED])
    worker.finish_all()
    feed(client, CANDLES[REPLICATED:])
    earlier = snapshot(client)
    changes = worker.advance(worker.fetch())
    go_back_to(client, earlier)
    with pytest.raises(RolledBack, match="is not there, or not routed yet"):
        worker.apply(changes)
    finish_in_a_new_session(server, worker)
    assert outcome(client) == expected


def test_the_worker_begins_a_new_session_and_says_why(
    server: EmbeddedRedis,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G3: as after a lost connection; it continues without help."""
    expected = expected_outcome(server)
    stop = Stop()
    earlier: dict[bytes, tuple[bytes, int]] = {}
    went_back = False
    settings = SteppedWorker(server, "one", batch=20).settings
    feed(client, CANDLES)

    def disturbed(commit: Callable[[Commit, Changes], None]) -> Callable[[Commit, Changes], None]:
        def disturb_and_commit(self: Commit, changes: Changes) -> None:
            nonlocal went_back
            if finished(client) >= REPLICATED and not earlier:
                earlier.update(snapshot(client))
            elif finished(client) >= ALL_BEFORE and not went_back:
                went_back = True
                go_back_to(client, earlier)
            commit(self, changes)

        return disturb_and_commit

    finish = Commit.finish

    def finish_and_stop(self: Commit) -> bool:
        was_done = finish(self)
        stop.requested = finished(client) == len(CANDLES)
        return was_done

    monkeypatch.setattr(Commit, "apply", disturbed(Commit.apply))
    monkeypatch.setattr(Commit, "begin", disturbed(Commit.begin))
    monkeypatch.setattr(Commit, "finish", finish_and_stop)
    run(settings, stop, SystemdNotifier())
    assert went_back
    assert outcome(client) == expected
    assert "it is back at older data: the last commit of shard" in caplog.text
    assert "Redis is back after" in caplog.text
