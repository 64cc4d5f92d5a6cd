"""A Redis that is there and refuses: a start waits for it too, and the log always says why."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from marketstate.worker.engine.preflight import preflight
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.log import Repeats
from marketstate.worker.settings import Settings, settings_from
from tests.support.candles import made_candles
from tests.support.processes import Program, environment
from tests.support.service_manager import Manager
from tests.support.worker_process import (
    DEAD,
    WorkerProcess,
    counters,
    feed,
    feed_fields,
    wait_until,
    wait_until_finished,
)

# It answers between every two megabytes that it has loaded, and waits a moment after each.
SLOW_TO_LOAD = ("--key-load-delay", "150000")
TWO_MEGABYTES = os.urandom(2 * 1024 * 1024)
NEVER_ENDS = "while true do end"
# Enough states for more lines than a pipe has room for.
CANDLES = made_candles(("BTCUSDT",), 3_000)


@contextmanager
def busy(server: EmbeddedRedis) -> Iterator[None]:
    """With a script that does not end."""

    def run_it() -> None:
        with server.client() as client, suppress(redis.ResponseError):
            client.eval(NEVER_ENDS, 0)

    with server.client() as client:
        client.config_set("lua-time-limit", 1)
        thread = threading.Thread(target=run_it)
        thread.start()
        wait_until(lambda: "BUSY" in refusal(client), "it is busy")
        try:
            yield
        finally:
            # Others use this server, too.
            client.script_kill()
            thread.join()
            client.config_set("lua-time-limit", 5_000)


@contextmanager
def loading(server: EmbeddedRedis, while_away: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Starting again, which takes it as long as the context, and a moment more."""
    with server.client() as client:
        client.mset({f"other:{i}": TWO_MEGABYTES for i in range(40)})
        client.save()
    server.kill()
    while_away()
    thread = threading.Thread(target=server.start)
    thread.start()
    with impatient(server) as client:
        wait_until(lambda: "loading" in refusal(client), "it is loading")
        try:
            yield
        finally:
            with suppress(redis.ResponseError):  # 6.2 takes no setting while it loads
                client.config_set("key-load-delay", 0)
            thread.join()


@contextmanager
def paused(server: EmbeddedRedis) -> Iterator[None]:
    """While a worker starts: on a busy machine that may take longer than the loading."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def impatient(server: EmbeddedRedis) -> redis.Redis:
    """redis-py would wait until Redis is loaded."""
    return redis.Redis(port=server.port, protocol=2, retry=Retry(NoBackoff(), 0))


def settings_of(server: EmbeddedRedis) -> Settings:
    return settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})


def all_of(pipe: int) -> bytes:
    """What is in it by now."""
    os.set_blocking(pipe, False)
    read = b""
    with suppress(BlockingIOError):
        while part := os.read(pipe, 100_000):
            read += part
    return read


def refusal(client: redis.Redis) -> str:
    try:
        client.get("any")
    except redis.RedisError as error:
        return str(error)
    return ""


@pytest.fixture
def own_server(server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(server_binary, *SLOW_TO_LOAD) as server:
        yield server


def test_a_start_waits_for_a_redis_that_is_busy(server: EmbeddedRedis, tmp_path: Path) -> None:
    with ExitStack() as ended:
        with busy(server):
            with pytest.raises(RedisUnusable, match="is busy with a script"):
                list(preflight(settings_of(server)))
            worker = ended.enter_context(WorkerProcess(server.port, tmp_path))
            worker.wait_for_log("waiting for Redis at localhost")
        worker.wait_for_log("holding 16 of 16 shards")
        assert "Redis is back after" in worker.log
        assert worker.terminate() == 0


def test_a_start_waits_for_a_redis_that_loads(own_server: EmbeddedRedis, tmp_path: Path) -> None:
    """Five ends in 44 s, and the service manager gave up a minute before Redis was ready."""
    with ExitStack() as ended:
        with loading(own_server):
            with pytest.raises(RedisUnusable, match="is still loading its data"):
                list(preflight(settings_of(own_server)))
            with paused(own_server):
                worker = ended.enter_context(WorkerProcess(own_server.port, tmp_path))
                worker.wait_for_log("Initialized with")
            worker.wait_for_log("waiting for Redis at localhost")
        worker.wait_for_log("holding 16 of 16 shards")
        assert worker.log.count("waiting for Redis at localhost") == 1
        assert worker.terminate() == 0


def test_a_start_that_waits_is_ended_by_a_signal(server: EmbeddedRedis, tmp_path: Path) -> None:
    with busy(server), WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("waiting for Redis at localhost")
        assert worker.terminate() == 0


def test_the_log_and_the_status_say_it_when_the_reason_for_waiting_changes(
    own_server: EmbeddedRedis, manager: Manager, tmp_path: Path
) -> None:
    """Away, then loading. Each is said once."""
    with WorkerProcess(own_server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        with loading(own_server, lambda: manager.wait_for("STATUS=lost Redis at localhost")):
            manager.wait_for("STATUS=still waiting for Redis at localhost")
        worker.wait_for_log("Redis is back after")
        assert worker.terminate() == 0
    lines = [line for line in worker.log.splitlines() if "Redis at localhost" in line]
    lost, other = (line for line in lines if "lost" in line or "still waiting" in line)
    assert ("is loading" in lost, "is loading" in other) == (False, True)


def test_a_worker_whose_log_nobody_reads_keeps_working(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: it used to block forever, and kept its leases."""
    read_end, write_end = os.pipe()
    given = environment(redis_port=server.port, start="replay")
    command = [sys.executable, "-m", "marketstate.worker", "worker"]
    with Program(command, env=given, stderr=write_end) as worker:
        os.close(write_end)
        feed(client, CANDLES)
        wait_until_finished(client, len(CANDLES))
        before = all_of(read_end)
        feed(client, made_candles(("BTCUSDT",), 3_001)[3_000:])
        wait_until_finished(client, len(CANDLES) + 1)
        after = all_of(read_end)
        assert worker.terminate() == 0
        after += all_of(read_end)
    os.close(read_end)
    assert before.startswith(b"20")
    assert b" log lines were dropped here: nobody read them\n" in after
    assert after.endswith(b"stopped; all shards are released\n")


def test_a_flood_of_bad_entries_is_a_few_lines(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5: they are all in the dead letters and in the counter, and in the sum at the end."""
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed_fields(client, ({"symbol": "BTCUSDT", "close": "none"} for _ in range(2_000)))
        wait_until_finished(client, 2_000)
        assert worker.terminate() == 0
    assert (client.xlen(DEAD), counters(client)) == (2_000, {"dead": 2_000})
    lines = [line for line in worker.log.splitlines() if "is a dead letter" in line]
    assert len(lines) == Repeats.FEW + 1
    assert f"{2_000 - Repeats.FEW:,} more of this kind in the last " in lines[-1]
