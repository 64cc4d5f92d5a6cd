"""One service manager for several loops, read from a real datagram socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marketstate.worker.engine.heartbeat import LoopStatus
from marketstate.worker.engine.shared_notifier import LoopNotifier, SharedNotifier
from marketstate.worker.engine.status import Unread
from marketstate.worker.engine.systemd import BETWEEN_S, SystemdNotifier
from marketstate.worker.setting_files import ReloadAnswer, forget_answer, wait_for_answer
from tests.support.service_manager import Manager

NAMES = ("p00", "p01")


class Clock:
    now_s = 1_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(
        "marketstate.worker.engine.shared_notifier.time.monotonic", lambda: clock.now_s
    )
    return clock


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def loops(tmp_path: Path, clock: Clock) -> list[LoopNotifier]:
    del clock
    return SharedNotifier(SystemdNotifier(str(tmp_path / "notify"), 60), NAMES).of_each()


def status(held: int, lag: int, last: tuple[int, str], *, at_least: bool = False) -> LoopStatus:
    return LoopStatus(False, held, 16, 3, Unread(lag, at_least, None), last)


def test_the_worker_is_ready_when_each_loop_is(loops: list[LoopNotifier], manager: Manager) -> None:
    first, second = loops
    first.ready()
    first.ready()
    assert manager.heard == ""
    second.ready()
    assert manager.heard == "READY=1\n"


def test_a_loop_that_hangs_silences_the_watchdog(
    loops: list[LoopNotifier], manager: Manager, clock: Clock
) -> None:
    """As with one loop: systemd ends the worker, and others take its shards."""
    first, second = loops
    for loop in loops:
        loop.ready()
        loop.beat(lambda: "works")
    assert manager.heard.count("WATCHDOG=1") == 1
    for _ in range(10):
        clock.now_s += BETWEEN_S
        first.beat(lambda: "works")
    assert manager.heard.count("WATCHDOG=1") == 1
    second.beat(lambda: "works again")
    assert manager.heard.count("WATCHDOG=1") == 2
    assert manager.heard.endswith("STATUS=p00 works; p01 works again\n")


def test_a_status_is_asked_for_only_when_it_is_due(
    loops: list[LoopNotifier], manager: Manager, clock: Clock
) -> None:
    asked: list[float] = []
    for _ in range(100):
        loops[0].beat(lambda: asked.append(clock.now_s))
        clock.now_s += BETWEEN_S / 10
    assert len(asked) == 10
    assert manager.heard == ""


def test_the_status_has_the_sums_and_what_each_loop_waits_for(
    loops: list[LoopNotifier], manager: Manager, clock: Clock
) -> None:
    first, second = loops
    for loop in loops:
        loop.ready()
    second.beat(lambda: status(7, 5, (60_000, "B"), at_least=True))
    first.beat(lambda: status(16, 2, (120_000, "A")))
    assert manager.heard.splitlines()[-1] == (
        "STATUS=holding 23 of 32 shards, 6 symbols, lag at least 7, "
        "last emission A 1970-01-01 00:02:00 UTC"
    )
    clock.now_s += BETWEEN_S
    second.beat(lambda: "lost Redis")
    first.beat(lambda: status(16, 2, (0, "")))
    assert manager.heard.splitlines()[-1] == (
        "STATUS=holding 16 of 16 shards, 3 symbols, lag 2, last emission none yet; p01 lost Redis"
    )


def test_new_settings_are_answered_when_each_loop_has_read_them(
    loops: list[LoopNotifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    first, second = loops
    for _ in range(2):
        second.answer(ReloadAnswer("level is now DEBUG\ninterval is now 30", "a restart"))
        assert wait_for_answer(tmp_path, 0) is None
        first.answer(ReloadAnswer("level is now DEBUG", "interval stays 60\na restart"))
        assert wait_for_answer(tmp_path, 0) == ReloadAnswer(
            "level is now DEBUG\np01: interval is now 30", "a restart\np00: interval stays 60"
        )
        forget_answer(tmp_path)


def test_the_worker_stops_once(loops: list[LoopNotifier], manager: Manager) -> None:
    for loop in loops:
        loop.stopping()
    assert manager.heard == "STOPPING=1\nSTATUS=releasing all shards\n"


def test_without_a_manager_no_status_is_asked_for(clock: Clock) -> None:
    del clock
    [loop] = SharedNotifier(SystemdNotifier(), ("p00",)).of_each()
    loop.beat(lambda: pytest.fail("there is no manager"))
    loop.ready()
