"""Ctrl-C ends every command that runs until Ctrl-C, even in a background job of a shell."""

from pathlib import Path
from signal import SIGINT

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.processes import IN_BACKGROUND
from tests.support.records import make_record, publish
from tests.support.replaying import candle_folder, stream_of
from tests.support.steps import SteppedWorker
from tests.support.terminal import Terminal
from tests.support.worker_process import WorkerProcess, wait_until

pytestmark = pytest.mark.one_redis_version


class InBackground(WorkerProcess):
    started_by = IN_BACKGROUND


class TopInBackground(Terminal):
    started_by = IN_BACKGROUND


def test_it_ends_a_worker(server: EmbeddedRedis, client: redis.Redis, tmp_path: Path) -> None:
    """G6: its shards are released."""
    with InBackground(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        worker.process.send_signal(SIGINT)
        assert worker.exit_code() == 0, worker.log
    assert client.keys("*:lease:*") == []


def test_it_ends_status_with_watch(server: EmbeddedRedis, tmp_path: Path) -> None:
    SteppedWorker(server, "one").keep()
    with InBackground(server.port, tmp_path, "status", "--watch") as status:
        status.wait_for_log("group marketstate")
        status.process.send_signal(SIGINT)
        assert status.exit_code() == 0, status.log


def test_it_ends_a_recording(server: EmbeddedRedis, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with InBackground(server.port, tmp_path, "record", str(path), "--follow") as recorder:
        wait_until(path.exists, "the file is begun")
        recorder.process.send_signal(SIGINT)
        assert recorder.exit_code() == 0, recorder.log


@pytest.mark.usefixtures("any_server_binary")
def test_it_ends_the_demo(tmp_path: Path) -> None:
    with InBackground(0, tmp_path, "demo") as demo:
        demo.wait_for_log("Press Ctrl-C")
        demo.process.send_signal(SIGINT)
        assert demo.exit_code() == 0, demo.log
        assert "The demo is over" in demo.log


def test_it_ends_a_replay_that_waits_for_workers(server: EmbeddedRedis, tmp_path: Path) -> None:
    files = candle_folder(tmp_path, 5)
    waiting = ("replay", str(files), "--namespace", "a", "--max-backlog", "1")
    with InBackground(server.port, tmp_path, *waiting) as replay, server.client() as client:
        wait_until(lambda: client.xlen(stream_of("a")) == 1, "as much is fed as allowed")
        replay.process.send_signal(SIGINT)
        assert replay.exit_code() == 130, replay.log


def test_it_ends_top(server: EmbeddedRedis, client: redis.Redis) -> None:
    publish(client, [make_record("BTCUSDT", 0)])
    with TopInBackground("top", environ={}, redis_port=server.port) as top:
        top.wait_for("BTCUSDT")
        top.press("\x03")
        assert top.exit_code() == 130
        assert top.attributes == top.before
