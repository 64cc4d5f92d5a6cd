"""A worker hardly needs Python's garbage collector, so it makes it look seldom."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from marketstate.worker.engine.collector import COLLECT_AFTER, spare_the_collector
from marketstate.worker.engine.loop import _recover
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.stop import Stop
from tests.support.small_workers import FILLED, SYMBOLS, candles_of, work_off, worked
from tests.support.worker_process import INPUT, INTERNAL_PREFIX, counters, feed, published

pytestmark = pytest.mark.one_redis_version


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def spare_it_once_it_has_collected() -> None:
    """Freezing puts the young objects before the old ones. Then the collector would later come to
    a socket before the older connection that closes it, and a test would be blamed for that.
    """
    gc.collect()
    spare_the_collector()


def test_the_objects_of_a_batch_are_freed_without_the_collector(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(server, client)
    states = len(published(client)["BTCUSDT"])
    feed(client, candles_of(SYMBOLS, FILLED, FILLED + 99))
    spare_it_once_it_has_collected()
    work_off(worker)
    assert gc.collect() < 50
    assert len(published(client)["BTCUSDT"]) == states + 100


def test_bad_entries_are_freed_without_the_collector_too(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: a stream of order books in place of candles filled the memory that a service has."""
    worker = worked(server, client)
    bad: tuple[Any, ...] = ({"payload": "no JSON"}, {"data": "{}"}, {"symbol": "A B", "close": "1"})
    for fields in bad * 30:
        client.xadd(INPUT, fields)
    spare_it_once_it_has_collected()
    work_off(worker)
    assert gc.collect() < 50
    assert counters(client)["dead"] == 90


def test_a_session_whose_redis_is_away_forgets_its_shards_and_can_still_release_them(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next session would need as much memory again, and a service may not have it."""
    worker, stop = worked(server, client), Stop()
    held, lost = len([*worker.shards]), redis.ConnectionError()
    monkeypatch.setattr(stop, "sleep", lambda _seconds: setattr(stop, "requested", True))
    client.config_set("maxmemory", 1)
    assert _recover(lost, worker, worker.settings, stop, worker.shards._incarnation) is worker
    client.config_set("maxmemory", 0)
    assert (held, [*worker.shards]) == (16, [])
    worker.leave()
    assert not client.keys(f"{INTERNAL_PREFIX}:lease:*")


def test_the_collector_still_looks_for_cycles_but_not_among_the_imports() -> None:
    spare_it_once_it_has_collected()
    assert gc.isenabled()
    assert gc.get_threshold()[0] == COLLECT_AFTER
    assert gc.get_freeze_count() > 10_000


RUN_NOTHING = """
import gc
from marketstate.worker.cli import main
from marketstate.worker.commands import worker
worker.loop.run = lambda *_: print(gc.get_threshold()[0])
main(["worker"])
"""


def test_the_command_that_runs_a_worker_spares_the_collector() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", RUN_NOTHING], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) == COLLECT_AFTER
