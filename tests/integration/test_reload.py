"""A running worker reads its settings again: what changes at once, and what does not."""

import argparse
import os
import signal
import subprocess
from pathlib import Path

import pytest
import redis

from marketstate.worker.commands import reload
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.setting_files import ReloadAnswer, write_answer
from tests.support.candles import made_candles
from tests.support.partitioned import groups
from tests.support.processes import MARKETSTATE, environment, piped
from tests.support.worker_process import WorkerProcess, counters, feed, wait_until_finished

CANDLES = made_candles(("BTCUSDT",), 264)
READY = "holding 16 of 16 shards"


class Service(WorkerProcess):
    """A worker with the folder that systemd would give it."""

    def __init__(self, server: EmbeddedRedis, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.given = {"redis_port": server.port, "lease_seconds": 2} | settings
        folder.mkdir()
        os.environ["RUNTIME_DIRECTORY"] = str(folder)
        try:
            super().__init__(server.port, folder, **self.given)
        finally:
            del os.environ["RUNTIME_DIRECTORY"]
        self.wait_for_log("Initialized with")

    def reload(self, **changed: object) -> tuple[int, str]:
        """What systemd does: a process with the settings as they are now."""
        given = self.given | changed
        its_own = {"MAINPID": str(self.process.pid), "RUNTIME_DIRECTORY": str(self.folder)}
        done = subprocess.run(
            [*MARKETSTATE, "reload"],
            env=environment(**given) | its_own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


def test_the_level_of_the_log_changes_at_once(server: EmbeddedRedis, tmp_path: Path) -> None:
    with Service(server, tmp_path / "one") as worker:
        worker.wait_for_log(READY)
        for before, after in (("INFO", "ERROR"), ("ERROR", "DEBUG"), ("DEBUG", "INFO")):
            says = f"MARKETSTATE_LOG_LEVEL is now {after}; it was {before}"
            assert worker.reload(log_level=after) == (0, f"{says}\n")
            worker.wait_for_log(says)
        worker.reload(log_level="ERROR")
        worker.wait_for_log("is now ERROR", times=2)
        assert worker.terminate() == 0
    assert "all shards are released" not in worker.log, "it is below the level"
    assert worker.log.count(READY) == 1, "no new session"


def test_the_last_worker_of_a_group_takes_over_another_publish_interval(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, G3: from the next state on, and no candle is lost or applied twice."""
    with Service(server, tmp_path / "one", start="replay", publish_interval=60) as worker:
        worker.wait_for_log(READY)
        feed(client, CANDLES[:260])
        wait_until_finished(client, 260)
        assert counters(client)["emitted"] == 4
        says = "MARKETSTATE_PUBLISH_INTERVAL is now 180; it was 60"
        assert worker.reload(publish_interval=180) == (0, f"{says}\n")
        worker.wait_for_log(says)
        worker.wait_for_log(READY, times=2)
        feed(client, CANDLES[260:])
        wait_until_finished(client, 264)
        assert (counters(client)["applied"], counters(client)["emitted"]) == (264, 5)
        says = "the settings were read again, and nothing that can change now has changed"
        assert worker.reload(publish_interval=180) == (0, f"{says}\n")
        assert worker.terminate() == 0


def test_beside_another_worker_the_publish_interval_stays(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: it says which worker is in the way, and keeps its shards. `systemctl reload` fails."""
    with (
        Service(server, tmp_path / "one", worker_id="first") as worker,
        Service(server, tmp_path / "two", worker_id="second") as other,
    ):
        other.wait_for_log("holding 8 of 16 shards")
        code, said = worker.reload(publish_interval=30, log_level="DEBUG")
        assert (code, said.splitlines()[0]) == (
            2,
            "MARKETSTATE_LOG_LEVEL is now DEBUG; it was INFO",
        )
        assert said.splitlines()[1].startswith(
            "marketstate: MARKETSTATE_PUBLISH_INTERVAL stays 60: "
        )
        for told in (said, worker.log):
            assert "publish_interval=30" in told
            assert "'second'" in told
        feed(client, CANDLES)
        wait_until_finished(client, len(CANDLES))
        assert (worker.terminate(), other.terminate()) == (0, 0)


def test_each_partition_takes_over_what_can_change(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: a loop for each of them, in one process that gets one signal."""
    with Service(server, tmp_path / "one", partitions=3) as worker:
        worker.wait_for_log(READY, times=3)
        level = "MARKETSTATE_LOG_LEVEL is now DEBUG; it was INFO"
        interval = "MARKETSTATE_PUBLISH_INTERVAL is now 180; it was 60"
        done = worker.reload(publish_interval=180, log_level="DEBUG")
        assert done == (0, f"{level}\n{interval}\n")
        assert (worker.log.count(level), worker.log.count(interval)) == (3, 3)
        code, said = worker.reload(publish_interval=180, log_level="DEBUG", partitions=4)
        assert (code, said.count("a change of MARKETSTATE_PARTITIONS needs a restart")) == (2, 1)
        for group in groups(3):
            assert b" publish_interval=180 " in client.hget(group.keys.meta, "settings")  # type: ignore[operator]
        assert worker.terminate() == 0


def test_what_needs_a_restart_is_named_and_does_not_change(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    theta = tmp_path / "theta.json"
    theta.write_text("{}")
    with Service(server, tmp_path / "one", theta_file=theta) as worker:
        worker.wait_for_log(READY)
        theta.write_text('{"vol": {"ewma_lambda": 0.9}}')
        code, said = worker.reload(batch=7, window_size=400)
        needs = (
            "a change of MARKETSTATE_WINDOW_SIZE, MARKETSTATE_BATCH, "
            "MARKETSTATE_THETA_FILE needs a restart"
        )
        assert (code, said.splitlines()[-1]) == (2, f"marketstate: {needs}")
        worker.wait_for_log(needs)
        assert worker.terminate() == 0


def test_settings_that_are_wrong_never_reach_the_worker(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    with Service(server, tmp_path / "one") as worker:
        worker.wait_for_log(READY)
        before = worker.log
        code, said = worker.reload(log_level="loud")
        assert (code, "MARKETSTATE_LOG_LEVEL is 'loud'" in said) == (2, True)
        (worker.folder / "settings.json").write_text("[]")
        worker.process.send_signal(signal.SIGHUP)
        worker.wait_for_log("the settings were not read again, and nothing changes: ")
        assert "was not written by marketstate reload" in worker.log.removeprefix(before)
        assert worker.terminate() == 0


def test_no_secret_is_written_to_the_file(server: EmbeddedRedis, tmp_path: Path) -> None:
    with Service(server, tmp_path / "one") as worker:
        worker.wait_for_log(READY)
        url = f"redis://:secret@localhost:{server.port}"
        assert worker.reload(redis_url=url)[0] == 0
        assert worker.reload(redis_password="secret")[0] == 0
        worker.wait_for_log("nothing that can change now has changed", times=1)
        assert "secret" not in (worker.folder / "settings.json").read_text()
        assert worker.terminate() == 0


def test_a_hangup_without_new_settings_changes_nothing(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """It used to end the worker silently, with its leases held."""
    with WorkerProcess(server.port, tmp_path, lease_seconds=2) as worker:
        worker.wait_for_log(READY)
        for times in (1, 2):
            worker.process.send_signal(signal.SIGHUP)
            worker.wait_for_log("SIGHUP: the settings of this process came with", times=times)
        feed(client, CANDLES)
        wait_until_finished(client, len(CANDLES))
        assert worker.terminate() == 0


def test_a_worker_that_does_not_answer_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to an earlier reload is not taken for its own."""
    write_answer(tmp_path, ReloadAnswer("an earlier one", ""))
    monkeypatch.setattr(reload, "_PATIENCE_S", 0.01)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    with subprocess.Popen(["sleep", "60"]) as other:
        monkeypatch.setenv("MAINPID", str(other.pid))
        with pytest.raises(RedisUnusable, match="has not answered within"):
            reload.command(argparse.Namespace())
        other.kill()


def test_only_systemd_can_run_the_command() -> None:
    done = piped((*MARKETSTATE, "reload"))
    _, said = done.communicate()
    assert (done.returncode, "systemctl reload quantum-marketstate" in said) == (2, True)
