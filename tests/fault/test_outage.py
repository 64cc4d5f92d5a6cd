"""Redis is away, full, or not as expected: the worker says so once, waits, and continues."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.engine import session
from marketstate.worker.engine.loop import _recover
from marketstate.worker.local.redis_server import EmbeddedRedis, free_port
from marketstate.worker.stop import Stop
from tests.support.candles import made_candles
from tests.support.processes import PATIENCE_S
from tests.support.replaying import run
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    INTERNAL_PREFIX,
    WorkerProcess,
    counters,
    feed,
    finished,
    published,
    wait_until,
    wait_until_finished,
)

REMOVES_ALL = "its next resync removes all that was written to it"
CANDLES = made_candles(("BTCUSDT", "ETHUSDT", "SOLUSDT"), 320)


@pytest.fixture
def durable_server(server_binary: Path) -> Iterator[EmbeddedRedis]:
    """A Redis for this test only, which keeps every acknowledged write."""
    with EmbeddedRedis(server_binary, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def expected_output(server: EmbeddedRedis, folder: Path) -> tuple[object, object]:
    with server.client() as client, WorkerProcess(server.port, folder) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, CANDLES)
        wait_until_finished(client, len(CANDLES))
        worker.terminate()
        found = published(client), counters(client)
        client.flushall()
        return found


def connections(client: redis.Redis) -> int:
    """How many there have been."""
    info: Any = client.info("stats")
    return int(info["total_connections_received"])


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_restarting_redis_in_mid_flow_loses_and_repeats_nothing(
    end: str, durable_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """G3; the log has one line per change, however often the worker tries to connect."""
    expected = expected_output(durable_server, tmp_path)
    outages = 3
    with WorkerProcess(durable_server.port, tmp_path, batch=7) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        for outage in range(outages):
            with durable_server.client() as client:
                before = finished(client)
                feed(client, CANDLES[outage * 240 : (outage + 1) * 240])
                wait_until(
                    lambda client=client, before=before: finished(client) > before + 20,  # type: ignore[misc]
                    "the worker is in the middle of it",
                )
            getattr(durable_server, end)()
            worker.wait_for_log("lost Redis at localhost", times=outage + 1)
            durable_server.start()
            worker.wait_for_log("Redis is back after", times=outage + 1)
        with durable_server.client() as client:
            feed(client, CANDLES[outages * 240 :])
            wait_until_finished(client, len(CANDLES))
            assert worker.terminate() == 0
            assert (published(client), counters(client)) == expected
    assert worker.log.count("lost Redis at") == outages
    assert worker.log.count("Redis is back after") == outages


def test_a_redis_that_comes_back_as_a_writable_replica_is_not_written_to(
    durable_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """G3: its next resync would remove all that was written to it."""
    nobody = free_port()
    with WorkerProcess(durable_server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        with durable_server.client() as client:
            client.config_set("replica-read-only", "no")
            client.replicaof("127.0.0.1", nobody)
            client.client_kill_filter(_type="normal", skipme=True)
            worker.wait_for_log("lost Redis at localhost")
            worker.wait_for_log(REMOVES_ALL)
            feed(client, CANDLES[:30])
            tries = connections(client)
            wait_until(lambda: connections(client) > tries + 2, "it has tried again")
            assert counters(client) == {}
            client.replicaof("NO", "ONE")
            worker.wait_for_log("Redis is back after")
            wait_until_finished(client, 30)
            assert worker.terminate() == 0


def test_the_worker_waits_for_a_full_redis_and_loses_nothing(
    durable_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """G3: with maxmemory and noeviction, a whole commit is refused."""
    expected = expected_output(durable_server, tmp_path)
    with (
        durable_server.client() as client,
        WorkerProcess(durable_server.port, tmp_path, batch=7) as worker,
    ):
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, CANDLES)
        wait_until(lambda: finished(client) > 100, "the worker is in the middle of it")
        client.config_set("maxmemory", "1mb")
        worker.wait_for_log("lost Redis at localhost")
        client.config_set("maxmemory", "0")
        wait_until_finished(client, len(CANDLES))
        assert worker.terminate() == 0
        assert (published(client), counters(client)) == expected
    assert worker.log.count("lost Redis at") == 1
    assert "OOM" in worker.log or "maxmemory" in worker.log


@pytest.mark.parametrize("step", ["keep", "fetch", "commit"])
def test_a_redis_that_comes_back_with_older_data_is_noticed_before_anything_is_written(
    step: str, server_binary: Path
) -> None:
    """G2, G3: while the worker computes, Redis dies and comes back with older data and the lease.

    No command was being sent, so no error was seen; the worker's windows are newer than Redis's.
    """
    with EmbeddedRedis(server_binary) as server:
        worker = SteppedWorker(server, "one", lease_seconds=3600, start="replay")
        worker.keep()
        with server.client() as client:
            feed(client, CANDLES)
            worker.apply(worker.advance(worker.fetch()))
            client.save()
            worker.apply(worker.advance(worker.fetch()))
        in_hand = worker.advance([])
        server.kill()
        server.start()
        steps: dict[str, Callable[[], object]] = {
            "keep": worker.keep,
            "fetch": worker.fetch,
            "commit": lambda: worker.apply(in_hand),
        }
        with pytest.raises(redis.ConnectionError):
            steps[step]()


def test_a_command_whose_reply_was_lost_is_not_repeated(server: EmbeddedRedis) -> None:
    """G3: by default, redis-py repeats a command ten times."""
    worker = SteppedWorker(server, "one")
    commands: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as deaf:

        def take_and_close() -> None:
            peer, _ = deaf.accept()
            with peer:
                commands.append(peer.recv(65_536))

        thread = threading.Thread(target=take_and_close)
        thread.start()
        with pytest.raises(redis.ConnectionError):
            SteppedWorker(server, "two", redis_port=deaf.getsockname()[1])
        thread.join()
        deaf.settimeout(0.5)
        with pytest.raises(TimeoutError):
            deaf.accept()
    assert len(commands) == 1
    assert worker.keep()[0] == 0


def test_a_worker_stops_at_once_while_redis_is_away(
    durable_server: EmbeddedRedis, tmp_path: Path
) -> None:
    with WorkerProcess(durable_server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        durable_server.kill()
        worker.wait_for_log("lost Redis at localhost")
        assert worker.terminate() == 0


def test_a_stop_does_not_wait_again_for_a_redis_that_did_not_answer(
    durable_server: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A reply to a command could come for 20 minutes."""
    monkeypatch.setattr(session, "A_MOMENT_S", 0.1)
    worker, stop = SteppedWorker(durable_server, "one", lease_seconds=3600), Stop()
    worker.keep()
    stop.requested = True

    def end() -> None:
        worker._client.disconnect()
        silent = redis.TimeoutError("Timeout reading from socket")
        assert _recover(silent, worker, worker.settings, stop, "") is worker
        worker.leave()

    os.kill(durable_server.pid, signal.SIGSTOP)
    try:
        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        ending.join(PATIENCE_S)
        assert not ending.is_alive()
    finally:
        os.kill(durable_server.pid, signal.SIGCONT)
    assert "the leases could not be released and will expire" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_worker_cleanly(
    number: signal.Signals, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    with WorkerProcess(server.port, tmp_path, lease_seconds=3600) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        worker.process.send_signal(number)
        assert worker.exit_code() == 0
        assert "stopped; all shards are released" in worker.log
    assert client.keys(f"{INTERNAL_PREFIX}:lease:*") == []
    assert client.hgetall(f"{INTERNAL_PREFIX}:members") == {}


def test_a_wrong_password_is_one_clear_line_without_the_password(
    any_server_binary: Path, tmp_path: Path
) -> None:
    with EmbeddedRedis(any_server_binary) as server:
        with server.client() as client:
            client.config_set("requirepass", "right-secret")
        for settings in (
            {"redis_password": "wrong-secret"},
            {"redis_url": f"redis://:wrong-secret@127.0.0.1:{server.port}/0"},
            {},
        ):
            for command in ("worker", "check"):
                with WorkerProcess(server.port, tmp_path, command, **settings) as worker:
                    assert worker.exit_code() == 3
                (line,) = [line for line in worker.log.splitlines() if "refuses" in line]
                assert "refuses this user or password" in line
                assert "wrong-secret" not in worker.log
                assert "Traceback" not in worker.log
        secret_file = tmp_path / "password"
        secret_file.write_text("right-secret\n")
        with WorkerProcess(
            server.port, tmp_path, "check", redis_password_file=secret_file
        ) as worker:
            assert (worker.exit_code(), "right-secret" in worker.log) == (0, False)


@pytest.mark.parametrize("command", ["worker", "check"])
def test_no_redis_at_start_is_one_clear_line(
    command: str, any_server_binary: Path, tmp_path: Path
) -> None:
    with EmbeddedRedis(any_server_binary) as server:
        unused_port = server.port
    with WorkerProcess(unused_port, tmp_path, command) as worker:
        assert worker.exit_code() == 3
    assert f"Redis at localhost:{unused_port} db 0 does not answer" in worker.log.splitlines()[-1]
    assert "Traceback" not in worker.log


@pytest.mark.parametrize(
    "key",
    [
        "quantum:stream:market.klines",
        "quantum:stream:marketstate",
        "quantum:stream:marketstate.dead",
        f"{INTERNAL_PREFIX}:meta",
        f"{INTERNAL_PREFIX}:lease:07",
        f"{INTERNAL_PREFIX}:shard:07",
    ],
)
@pytest.mark.one_redis_version
def test_a_key_of_the_wrong_type_at_start_is_one_clear_line(
    key: str, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    client.sadd(key, "x")
    with WorkerProcess(server.port, tmp_path) as worker:
        assert worker.exit_code() == 3
    checked = run(server, tmp_path, "check")
    for code, said in ((3, worker.log), checked):
        assert code == 3
        assert f"the key {key} holds a set, but the worker needs a" in said.splitlines()[-1]


def test_a_key_that_gets_the_wrong_type_stops_the_worker_before_it_writes(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G3: the types are checked before the first write, so nothing of the batch is written."""
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        client.set("quantum:stream:marketstate", "not a stream")
        feed(client, CANDLES)
        assert worker.exit_code() == 3
    assert "the key quantum:stream:marketstate holds a string" in worker.log.splitlines()[-1]
    done = finished(client)
    client.delete("quantum:stream:marketstate")
    assert len(CANDLES) - done > 0
    with WorkerProcess(server.port, tmp_path, worker_id="next"):
        wait_until_finished(client, len(CANDLES))


def test_a_batch_that_outlasts_its_lease_is_made_smaller(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G4 must not stop progress if the calculation is slow, as with this long window."""
    theta = tmp_path / "theta.json"
    theta.write_text('{"trend": {"windows": [1500], "weights": [1]}}')
    candles = made_candles(("BTCUSDT",), 1750)
    settings = {"theta_file": theta, "window_size": 1501, "lease_seconds": 1, "start": "replay"}
    feed(client, candles)
    with WorkerProcess(server.port, tmp_path, **settings) as worker:
        wait_until_finished(client, len(candles))
        assert worker.terminate() == 0
    assert counters(client) == {"applied": 1750, "emitted": 250}
