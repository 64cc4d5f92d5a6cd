"""A worker under a service manager: when it is ready, and that only a running loop sends beats."""

import signal
from pathlib import Path

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.service_manager import Manager
from tests.support.worker_process import INTERNAL_PREFIX, WorkerProcess, wait_until


def test_ready_with_the_first_shards_and_stopping_before_they_are_released(
    server: EmbeddedRedis, client: redis.Redis, manager: Manager, tmp_path: Path
) -> None:
    with WorkerProcess(server.port, tmp_path) as worker:
        manager.wait_for("READY=1")
        assert client.exists(f"{INTERNAL_PREFIX}:lease:00")
        manager.wait_for(
            "WATCHDOG=1\nSTATUS=holding 16 of 16 shards, 0 symbols, lag 0, last emission none yet"
        )
        assert worker.terminate() == 0
    assert manager.heard.count("READY=1") == 1
    assert manager.heard.endswith("STOPPING=1\nSTATUS=releasing all shards\n")


def test_a_worker_without_shards_becomes_ready_too(
    server: EmbeddedRedis, manager: Manager, tmp_path: Path
) -> None:
    settings = {"shards": 1, "lease_seconds": 1}
    with WorkerProcess(server.port, tmp_path, worker_id="a", **settings):
        manager.wait_for("READY=1")
        with WorkerProcess(server.port, tmp_path, worker_id="b", **settings):
            manager.wait_for("READY=1", times=2)
            manager.wait_for("STATUS=holding 0 of 1 shards")


def test_a_worker_that_waits_for_redis_is_alive_and_says_what_it_waits_for(
    any_server_binary: Path, manager: Manager, tmp_path: Path
) -> None:
    with (
        EmbeddedRedis(any_server_binary) as server,
        WorkerProcess(server.port, tmp_path) as worker,
    ):
        manager.wait_for("READY=1")
        server.stop()
        manager.wait_for("WATCHDOG=1\nSTATUS=lost Redis at localhost:", times=3)
        assert worker.terminate() == 0


def test_a_worker_that_hangs_sends_no_beat(
    server: EmbeddedRedis, client: redis.Redis, manager: Manager, tmp_path: Path
) -> None:
    """No other thread sends the beat. The lease lasts as long as four beats."""
    with WorkerProcess(server.port, tmp_path, lease_seconds=1) as worker:
        manager.wait_for("WATCHDOG=1")
        worker.process.send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{worker.process.pid}/stat")
        wait_until(lambda: ") T " in status.read_text(), "it hangs")
        before = manager.heard
        wait_until(
            lambda: not client.exists(f"{INTERNAL_PREFIX}:lease:00"), "its lease has run out"
        )
        assert manager.heard == before
        worker.process.send_signal(signal.SIGCONT)
        wait_until(lambda: before != manager.heard, "it is heard again")


def test_an_invalid_setting_is_reported_to_the_manager(manager: Manager, tmp_path: Path) -> None:
    with WorkerProcess(1, tmp_path, batch="many") as worker:
        assert worker.exit_code() == 2
    assert "STATUS=MARKETSTATE_BATCH is 'many'; allowed: a number of entries" in manager.heard
    assert "READY=1" not in manager.heard
