"""Workers under systemd with kills, pauses, crashes and restarts: they publish the same as if
nothing had happened, judged by the checker of the fault harness.

Redis requires a password here, and the windows are short, so that every candle counts. The units'
times are shortened if a test would only wait for them.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fault.chaos import history as histories
from tests.fault.chaos.checker import violations
from tests.fault.chaos.entries import entries, symbols_of
from tests.fault.chaos.faults.retirement import RETIRE_AFTER
from tests.fault.chaos.history import History
from tests.fault.chaos.names import Names
from tests.fault.chaos.reference import SMALL_THETA, WINDOW_SIZE, judged_by
from tests.support.deployment import (
    ENVIRONMENT,
    FIRST,
    PASSWORD,
    SECOND,
    SHARDS,
    Deployment,
    holders,
)
from tests.support.machine import Machine
from tests.support.worker_process import (
    feed_fields,
    finished,
    group_info,
    wait_until,
    wait_until_finished,
)

SECRET = "kept-s3cret"
ENTRIES = 6_000
PER_STEP = 60
MOST_STEPS = 200
LEASE_S = 2
LONG_AGO_MS = 1_746_373_200_000 - 1
SETTINGS = f"""
MARKETSTATE_THETA_FILE=/etc/quantum/theta.json
MARKETSTATE_WINDOW_SIZE={WINDOW_SIZE}
MARKETSTATE_START=replay
MARKETSTATE_BACKFILL_KEYS=none
MARKETSTATE_RETIRE_AFTER={RETIRE_AFTER}
MARKETSTATE_LEASE_SECONDS={LEASE_S}
MARKETSTATE_BATCH=50
MARKETSTATE_OUTPUT_MAXLEN=1000000
MARKETSTATE_DEAD_MAXLEN=1000000
"""
BOTH = pytest.mark.parametrize("unit", [FIRST, SECOND])


class Trial:
    """Two workers, a continuing stream, and the verdict on everything so far."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.machine = deployment.machine
        self.redis = self.machine.redis(password=SECRET)
        self._entries = entries(5, ENTRIES, LONG_AGO_MS, symbols_of(Names()))
        self.fed = 0

    def feed(self, count: int = PER_STEP, *, padding: bytes = b"") -> None:
        """`padding` makes entries large, with a field that is ignored."""
        some = self._entries[self.fed : self.fed + count]
        feed_fields(self.redis, [fields | {b"padding": padding} for fields in some])
        self.fed += count

    def judge(self) -> list[str]:
        """Wait until everything fed is finished; returns the violations."""
        wait_until_finished(self.redis, self.fed)
        history = History(settings=judged_by(entries=self.fed))
        histories.collect(self.redis, Names(), history)
        return violations(history)

    def wait_until_even(self) -> None:
        half = SHARDS // 2
        wait_until(lambda: {FIRST: half, SECOND: half} == holders(self.redis), "shards are even")

    def restarts(self, unit: str) -> int:
        return int(self.deployment.show(unit, "NRestarts"))

    @contextmanager
    def environment_with(self, line: str) -> Iterator[None]:
        """With `line` in the file; afterwards, restart all workers without it."""
        environment = self.machine.path(ENVIRONMENT)
        original = environment.read_text()
        environment.write_text(f"{original}{line}\n")
        try:
            yield
        finally:
            environment.write_text(original)
            self.machine.run("systemctl", "reset-failed")
            self.machine.run("systemctl", "restart", FIRST, SECOND)


@pytest.fixture(scope="module")
def stream(machine: Machine, deployed: Deployment) -> Iterator[Trial]:
    """Settings and password as above, and an empty Redis; restores everything afterwards."""
    environment = machine.path(ENVIRONMENT)
    original = environment.read_text()
    machine.run("systemctl", "stop", FIRST)
    with machine.redis() as client:
        client.flushall()
        client.config_set("requirepass", SECRET)
        client.config_rewrite()
    environment.write_text(original + SETTINGS)
    machine.path("/etc/quantum/theta.json").write_text(json.dumps(SMALL_THETA))
    machine.path(PASSWORD).touch(mode=0o600)
    machine.path(PASSWORD).write_text(SECRET + "\n")
    yield Trial(deployed)
    machine.run("systemctl", "stop", FIRST)
    with machine.redis(password=SECRET) as client:
        client.flushall()
        client.config_set("requirepass", "")
        client.config_rewrite()
    environment.write_text(original)
    machine.path(PASSWORD).unlink()
    machine.path("/etc/quantum/theta.json").unlink()
    deployed.shorten()
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "start", FIRST)


@pytest.fixture
def trial(stream: Trial) -> Iterator[Trial]:
    """Both workers run with equal shares; the stream continues across tests, and the verdict
    covers all of it.
    """
    stream.deployment.shorten("RestartSec=200ms")
    stream.machine.run("systemctl", "reset-failed")
    stream.machine.run("systemctl", "start", FIRST, SECOND)
    stream.wait_until_even()
    yield stream
    assert stream.judge() == []


def test_a_second_worker_shares_the_work_and_the_lag_stays_0(trial: Trial) -> None:
    trial.feed(15 * PER_STEP)  # then most symbols have enough closes for a state
    wait_until_finished(trial.redis, trial.fed)
    group = group_info(trial.redis)
    assert (group["lag"], group["pending"]) == (0, 0)
    wanted = rf"holding 8 of {SHARDS} shards, \d+ symbols, lag 0, last emission \w+ .* UTC"
    wait_until(
        lambda: all(
            re.fullmatch(wanted, trial.deployment.show(unit, "StatusText"))
            for unit in (FIRST, SECOND)
        ),
        f"the status of both is {wanted}",
    )


def test_the_log_shows_the_settings_and_nothing_shows_the_password(trial: Trial) -> None:
    machine = trial.machine
    for unit in (FIRST, SECOND):
        said = machine.journal(unit)
        assert f"window_size={WINDOW_SIZE} " in said
        assert f"lease_seconds={float(LEASE_S)} " in said
        assert "redis_password=*** " in said
        environment = machine.path(f"/proc/{trial.deployment.pid(unit)}/environ").read_text()
        assert "MARKETSTATE_WORKER_ID=" in environment
        shown = machine.run("systemctl", "show", unit).stdout
        for text in (said, environment, shown):
            assert SECRET not in text
    assert SECRET not in machine.run("ps", "axeww").stdout


@BOTH
def test_when_a_worker_is_killed_the_other_takes_over_until_systemd_restarts_it(
    trial: Trial, unit: str
) -> None:
    """G3, G6: with the real times of the units."""
    trial.deployment.shorten()
    (other,) = {FIRST, SECOND} - {unit}
    restarts = trial.restarts(unit)
    trial.feed()
    wait_until(lambda: finished(trial.redis) > trial.fed - PER_STEP, "it is in the middle of it")
    trial.machine.run("systemctl", "kill", "--signal=KILL", unit)
    trial.feed()
    wait_until(lambda: {other: SHARDS} == holders(trial.redis), "the other holds all shards")
    wait_until_finished(trial.redis, trial.fed)
    trial.feed()
    wait_until(lambda: trial.restarts(unit) == restarts + 1, "systemd has restarted it")
    trial.wait_until_even()


def test_a_worker_that_hangs_longer_than_the_watchdog_allows_is_restarted(trial: Trial) -> None:
    """G4: the other worker takes its shards. The watchdog's 60 s are 6 s here."""
    trial.deployment.shorten("RestartSec=200ms", "WatchdogSec=6")
    trial.machine.run("systemctl", "restart", FIRST)
    trial.deployment.wait_until_active(FIRST, SECOND)
    trial.wait_until_even()
    hung = trial.deployment.pid(SECOND)
    trial.feed()
    trial.machine.run("kill", "-STOP", str(hung))
    trial.feed()
    wait_until(lambda: trial.deployment.pid(SECOND) not in (0, hung), "another process runs")
    assert "Watchdog timeout" in trial.machine.journal(SECOND)
    assert "File " in trial.machine.journal(SECOND), "it logs where it hung"
    trial.wait_until_even()
    assert trial.restarts(FIRST) == 0, "a worker that waits for candles does not hang"


@BOTH
def test_after_five_crashes_in_a_row_a_unit_stays_failed(trial: Trial, unit: str) -> None:
    """The other worker continues, even if it is restarted together with the first."""
    (other,) = {FIRST, SECOND} - {unit}
    trial.machine.run("systemctl", "stop", FIRST)
    trial.machine.run("systemctl", "reset-failed")
    trial.feed()
    trial.machine.run("systemctl", "start", FIRST, SECOND)
    crashes = 0
    while trial.deployment.show(unit, "ActiveState") != "failed":
        pid = trial.deployment.pid(unit)
        if pid and trial.machine.run("kill", "-KILL", str(pid), check=False).returncode == 0:
            crashes += 1
            wait_until(lambda pid=pid: trial.deployment.pid(unit) != pid, "systemd has noticed")  # type: ignore[misc]
    assert crashes == 5
    said = trial.machine.run("systemctl", "status", unit, check=False).stdout
    assert "Start request repeated too quickly" in said
    trial.feed()
    wait_until(lambda: {other: SHARDS} == holders(trial.redis), "the other holds all shards")
    trial.deployment.wait_until_active(other)


def test_a_worker_over_its_memory_is_killed_and_restarted_and_nothing_is_lost(
    trial: Trial,
) -> None:
    """The limit is set just above its current memory: 512 MB of candles would take too long. A
    single one of these entries exceeds it, so nothing depends on how many come at once.
    """
    restarts = trial.restarts(FIRST)
    trial.deployment.shorten("RestartSec=3")
    before = len(trial.machine.journal(FIRST))
    limit = int(trial.deployment.show(FIRST, "MemoryCurrent")) + 2**20
    trial.machine.run("systemctl", "set-property", "--runtime", FIRST, f"MemoryMax={limit}")
    try:
        trial.feed(20, padding=bytes(2**20))
        wait_until(lambda: trial.restarts(FIRST) > restarts, "it is killed and restarted")
    finally:
        trial.machine.run("systemctl", "set-property", "--runtime", FIRST, "MemoryMax=512M")
    assert "status=9/KILL" in trial.machine.journal(FIRST)[before:]
    trial.wait_until_even()


def test_no_unit_fails_when_redis_is_restarted(trial: Trial) -> None:
    before = [trial.deployment.show(unit, "InvocationID") for unit in (FIRST, SECOND)]
    trial.feed()
    trial.machine.run("systemctl", "stop", "redis-server")
    wait_until(
        lambda: "lost Redis at " in trial.deployment.show(FIRST, "StatusText"),
        "the status shows that Redis is away",
    )
    trial.machine.run("systemctl", "start", "redis-server")
    trial.feed()
    trial.wait_until_even()
    assert [trial.deployment.show(unit, "InvocationID") for unit in (FIRST, SECOND)] == before
    assert "0 loaded units listed" in trial.machine.run("systemctl", "--failed").stdout


def test_stopping_the_first_stops_all_cleanly_and_starting_it_starts_all(trial: Trial) -> None:
    trial.feed()
    trial.machine.run("systemctl", "stop", FIRST)
    for unit in (FIRST, SECOND):
        assert trial.machine.show(unit, "ActiveState", "Result") == ["inactive", "success"]
    assert holders(trial.redis) == {}, "all shards are released"
    trial.feed()
    trial.machine.run("systemctl", "enable", SECOND)
    trial.machine.run("systemctl", "start", FIRST)
    trial.wait_until_even()
    trial.machine.run("systemctl", "disable", SECOND)


def test_a_restart_gives_all_workers_the_new_settings_at_once(trial: Trial) -> None:
    """Workers with different settings cannot run together."""
    # With 59 s, the same candles are due as with 60 s, because their steps are 60 or 30 s.
    with trial.environment_with("MARKETSTATE_PUBLISH_INTERVAL=59"):
        trial.feed()
        trial.machine.run("systemctl", "restart", FIRST)
        trial.wait_until_even()
        for unit in (FIRST, SECOND):
            assert "publish_interval=59 " in trial.machine.journal(unit)


def test_a_bad_value_fails_at_once_with_the_message_of_check_and_is_not_retried(
    trial: Trial,
) -> None:
    with trial.environment_with("MARKETSTATE_PUBLISH_INTERVAL=soon"):
        assert trial.machine.run("systemctl", "restart", FIRST, check=False).returncode != 0
        checked = trial.machine.run("quantum-marketstate", "check", check=False)
        assert checked.returncode == 2
        message = checked.stdout.splitlines()[-1].removeprefix("FAIL ")
        assert "MARKETSTATE_PUBLISH_INTERVAL is 'soon'" in message
        state = trial.machine.show(FIRST, "ActiveState", "ExecMainStatus", "NRestarts")
        assert state == ["failed", "2", "0"]
        said = trial.machine.run("systemctl", "status", FIRST, check=False).stdout
        assert f'Status: "{message}"' in said
        assert f"marketstate: {message}" in said


def test_settings_of_a_single_worker_override_the_common_ones(trial: Trial) -> None:
    own = trial.machine.path("/etc/quantum/marketstate@2.env")
    try:
        own.write_text("MARKETSTATE_LOG_LEVEL=DEBUG\n")
        trial.machine.run("systemctl", "restart", SECOND)
        assert "log_level=DEBUG" in trial.machine.journal(SECOND)
        assert "log_level=DEBUG" not in trial.machine.journal(FIRST)
    finally:
        own.unlink()


def rolled_out(trial: Trial) -> str:
    """Deploys with --rolling; what it says. Once it switches, candles flow."""
    before, ended = trial.deployment.current(), threading.Event()

    def flow() -> None:
        while trial.deployment.current() == before and not ended.wait(0.05):
            pass
        for _ in range(MOST_STEPS):
            if not ended.is_set():
                trial.feed(PER_STEP // 10)
                wait_until(lambda: finished(trial.redis) >= trial.fed, "they keep up")

    feeder = threading.Thread(target=flow)
    feeder.start()
    try:
        return trial.deployment.deploy("--rolling", "--", "--max-state-age=inf").stdout
    finally:
        ended.set()
        feeder.join()


def is_one_at_a_time(trial: Trial) -> bool:
    """Whether the second was stopped only when the first was ready again."""
    (up_first,) = trial.machine.show(FIRST, "ActiveEnterTimestampMonotonic")
    (down_second,) = trial.machine.show(SECOND, "InactiveEnterTimestampMonotonic")
    return int(up_first) < int(down_second)


def test_a_rolling_deployment_replaces_one_worker_after_another_while_candles_flow(
    trial: Trial,
) -> None:
    """G2, G3: judged by the checker of the fault harness, like everything here."""
    before = [trial.deployment.pid(unit) for unit in (FIRST, SECOND)]
    readme = trial.machine.path(f"{trial.deployment.checkout}/README.md")
    readme.write_text(readme.read_text() + "another release")
    fed = trial.fed
    said = rolled_out(trial)
    assert "Replacing one worker after another" in said
    assert is_one_at_a_time(trial), said
    after = [trial.deployment.pid(unit) for unit in (FIRST, SECOND)]
    assert set(before) & set(after) == set()
    new = trial.deployment.current()
    for pid in after:
        assert new in trial.machine.path(f"/proc/{pid}/cmdline").read_text()
    assert trial.fed > fed
    assert trial.judge() == []


def test_what_workers_must_agree_on_is_not_rolled_out(trial: Trial) -> None:
    with trial.environment_with("MARKETSTATE_PUBLISH_INTERVAL=59"):
        said = rolled_out(trial)
        assert "the group 'marketstate' runs with publish_interval=60" in said
        assert "Not one after another: the new release cannot work beside the running one" in said
        assert not is_one_at_a_time(trial), said
