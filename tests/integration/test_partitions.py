"""All partitions in one process: a loop for each, one answer, one stop, one error."""

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.engine.counters import numbers
from marketstate.worker.engine.partitions import run
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import PREFIX, settings_from
from marketstate.worker.stop import Stop
from tests.support.candles import made_candles
from tests.support.feeding import NEEDED
from tests.support.partitioned import (
    all_counters,
    all_finished,
    all_published,
    feed_by_symbol,
    groups,
)
from tests.support.service_manager import Manager
from tests.support.small_workers import small_worker, work_off
from tests.support.two_nodes import PORT_OF_FIRST
from tests.support.worker_process import WorkerProcess, feed, published, wait_until

pytestmark = pytest.mark.one_redis_version

SYMBOLS = [f"SYM{i}USDT" for i in range(24)]
CANDLES = made_candles(SYMBOLS, 5 * NEEDED)
THETA = {
    "vol": {"window": 8},
    "trend": {"windows": [4, 8], "weights": [0.5, 0.5]},
    "regime": {"window": 8, "vr_k": 2},
}


Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(server: EmbeddedRedis, tmp_path: Path) -> Start:
    """Starts a process with the settings of `small_worker`."""
    theta = tmp_path / "theta.json"
    theta.write_text(json.dumps(THETA))
    small = {"theta_file": theta, "window_size": 12, "start": "replay", "batch": 50}

    def start(kind: type[WorkerProcess] = WorkerProcess, **settings: object) -> WorkerProcess:
        return kind(server.port, tmp_path, **(small | settings))

    return start


def expected(server: EmbeddedRedis, client: redis.Redis) -> tuple[object, object]:
    """Records and counters without partitions; nothing is left in Redis."""
    worker = small_worker(server, start="replay")
    feed(client, CANDLES)
    work_off(worker)
    counters: Any = client.hgetall(worker.keys.counters)
    found = published(client), numbers(counters)
    client.flushall()
    return found


def wait_until_all_finished(client: redis.Redis, partitions: int, entries: int) -> None:
    wait_until(lambda: all_finished(client, partitions) >= entries, f"{entries} are finished")


@pytest.mark.parametrize(("partitions", "workers"), [(1, 1), (4, 3), (16, 1)])
def test_the_records_of_each_symbol_are_those_of_one_group(
    partitions: int,
    workers: int,
    start: Start,
    server: EmbeddedRedis,
    client: redis.Redis,
) -> None:
    """G1, G2, G3: workers start while candles flow, and one of them is killed."""
    one_answer = expected(server, client)
    with ExitStack() as stack:
        started = [
            stack.enter_context(start(partitions=partitions, lease_seconds=1))
            for _ in range(workers)
        ]
        half = len(CANDLES) // 2
        feed_by_symbol(client, CANDLES[:half], partitions)
        if workers > 1:
            wait_until_all_finished(client, partitions, half // 2)
            started.pop().kill()
        feed_by_symbol(client, CANDLES[half:], partitions)
        wait_until_all_finished(client, partitions, len(CANDLES))
        assert (all_published(client, partitions), all_counters(client, partitions)) == one_answer
        for each in started:
            each.wait_for_log("holding ")  # before that, it may not even listen for the signal
        assert [worker.terminate() for worker in started] == [0] * len(started)
    assert client.keys("*:lease:*") == []


def test_a_signal_stops_every_loop_while_all_of_them_wait(
    start: Start, client: redis.Redis
) -> None:
    """G6: each waits for twenty minutes, so nothing but the signal ends it."""
    with start(partitions=8, lease_seconds=3600) as worker:
        worker.wait_for_log("holding 16 of 16 shards", times=8)
        wait_until(lambda: blocked(client) == 8, "all wait for entries")
        assert worker.terminate() == 0
    assert worker.log.count("stopped; all shards are released") == 8
    assert client.keys("*:lease:*") == []


def blocked(client: redis.Redis) -> int:
    info: Any = client.info("clients")
    return int(info["blocked_clients"])


def test_what_ends_one_loop_ends_all_and_is_told_once(start: Start, client: redis.Redis) -> None:
    group = groups(4)[2].keys
    with start(partitions=4) as worker:
        worker.wait_for_log("holding 16 of 16 shards", times=4)
        client.xgroup_destroy(group.input, group.group)
        client.xadd(group.input, {"symbol": "A"})
        assert worker.exit_code() == 3
    assert worker.log.count("When the group is gone") == 1
    assert f"marketstate: the consumer group 'marketstate' of {group.input} has been" in worker.log
    assert worker.log.count("stopped; all shards are released") == 4
    assert client.keys("*:lease:*") == []


def test_too_few_threads_are_named_and_the_loops_that_run_are_stopped(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "p02":
            raise RuntimeError("can't start new thread")
        begin(thread)
        wait_until(lambda: client.exists(groups(4)[0].keys.meta), "the first one runs")

    monkeypatch.setattr(threading.Thread, "start", start)
    given = {f"{PREFIX}PARTITIONS": "4", f"{PREFIX}REDIS_PORT": str(server.port)}
    with pytest.raises(ConfigurationError, match=r"each of its 4 partitions, .* gives it 2"):
        run(settings_from(given), Stop(), SystemdNotifier())
    assert client.keys("*:lease:*") == []


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4)])
def test_another_number_of_partitions_is_refused_before_anything_is_created(
    before: int, after: int, start: Start, client: redis.Redis
) -> None:
    with start(partitions=before) as worker:
        worker.wait_for_log("holding 16 of 16 shards", times=before)
        assert worker.terminate() == 0
    keys = set(client.keys())
    with start(partitions=after) as worker:
        assert worker.exit_code() == 2
    assert worker.log.count("marketstate repartition") == 1
    assert set(client.keys()) == keys


def test_a_loop_whose_node_is_away_waits_for_it_and_holds_up_no_other(
    start: Start, client: redis.Redis, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service manager hears of it, and that the worker is alive."""
    keys = groups(2)[1].keys
    of_second = [symbol for symbol in SYMBOLS if groups(2)[1].has(symbol)]
    candles = made_candles(of_second, 2)
    with EmbeddedRedis(None, "--appendonly", "yes") as first:
        monkeypatch.setenv(PORT_OF_FIRST, str(first.port))
        with start(WorkerOfTwoNodes, partitions=2) as worker:
            manager.wait_for("READY=1")
            manager.wait_for("STATUS=holding 32 of 32 shards, 0 symbols, lag 0")
            first.stop()
            worker.wait_for_log("p00 lost Redis at")
            half = len(of_second)
            feed(client, candles[:half], keys.input)
            wait_until(lambda: client.hget(keys.counters, "applied") == b"%d" % half, "applied")
            manager.wait_for(f"STATUS=holding 16 of 16 shards, {half} symbols")
            manager.wait_for("lag 0, last emission none yet; p00 lost Redis at", times=2)
            first.start()
            worker.wait_for_log("p00 Redis is back")
            manager.wait_for(f"STATUS=holding 32 of 32 shards, {half} symbols")
            assert worker.terminate() == 0
    assert manager.heard.count("READY=1") == 1
    assert manager.heard.count("STOPPING=1") == 1


def test_a_stop_waits_no_longer_for_a_node_that_hangs_than_it_must(
    start: Start, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G6: the shards of the other nodes are released at once. A reply could come for 20 minutes."""
    with EmbeddedRedis(None) as first:
        monkeypatch.setenv(PORT_OF_FIRST, str(first.port))
        with start(WorkerOfTwoNodes, partitions=2, lease_seconds=3600) as worker:
            worker.wait_for_log("holding 16 of 16 shards", times=2)
            os.kill(first.pid, signal.SIGSTOP)
            try:
                worker.process.send_signal(signal.SIGTERM)
                wait_until(lambda: client.keys("*:lease:*") == [], "the others are free")
                assert worker.exit_code() == 0
            finally:
                os.kill(first.pid, signal.SIGCONT)
    assert "p01 stopped; all shards are released" in worker.log
    assert "stopped, and p00 does not wait for Redis any longer" in worker.log


class WorkerOfTwoNodes(WorkerProcess):
    module = "tests.support.two_nodes"
