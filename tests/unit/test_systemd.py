"""Messages to the service manager, read from a real datagram socket, as systemd reads them."""

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketstate.worker.engine.systemd import BETWEEN_S, SystemdNotifier
from marketstate.worker.settings import service_manager


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """The lines of each message since the last call."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(65_536).decode().splitlines())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    is_path = request.param == "a path"
    manager = Manager(str(tmp_path / "notify") if is_path else f"@marketstate-test-{os.getpid()}")
    yield manager
    manager.close()


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr("marketstate.worker.engine.systemd.time.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_from_the_start_to_the_end(manager: Manager, clock: Clock) -> None:
    notifier = SystemdNotifier(manager.address, 60)
    notifier.beat(lambda: "waiting")
    assert manager.heard() == [["WATCHDOG=1", "STATUS=waiting", "EXTEND_TIMEOUT_USEC=60000000"]]
    notifier.ready()
    notifier.ready()
    notifier.beat(lambda: "at\nwork")
    assert manager.heard() == [["READY=1"], ["WATCHDOG=1", "STATUS=at work"]]
    clock.now_s += BETWEEN_S
    notifier.beat(lambda: "still")
    assert manager.heard() == [["WATCHDOG=1", "STATUS=still"]]
    notifier.stopping()
    notifier.failed("this\nis wrong")
    assert manager.heard() == [
        ["STOPPING=1", "STATUS=releasing all shards"],
        ["STATUS=this is wrong"],
    ]


@pytest.mark.parametrize(("watchdog_s", "between_s"), [(60, 5), (8, 2), (math.inf, 5)])
def test_beats_are_a_few_seconds_apart_and_at_least_four_per_watchdog(
    watchdog_s: float, between_s: float, tmp_path: Path, clock: Clock
) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = SystemdNotifier(manager.address, watchdog_s)
    assert notifier.longest_wait_s == between_s
    asked = []
    for _ in range(100):
        notifier.beat(lambda: asked.append(1) or "")  # type: ignore[func-returns-value]
        clock.now_s += between_s / 10
    assert len(manager.heard()) == len(asked) == 10, "the status is asked for only when it is sent"
    manager.close()


def test_without_a_manager_nothing_is_sent_and_no_wait_is_shortened() -> None:
    notifier = SystemdNotifier()
    notifier.ready()
    notifier.beat(lambda: pytest.fail("there is no manager"))
    notifier.stopping()
    assert notifier.longest_wait_s == math.inf


def test_a_missing_manager_is_ignored(tmp_path: Path) -> None:
    SystemdNotifier(str(tmp_path / "nobody")).ready()


def test_the_manager_is_read_from_the_environment() -> None:
    own = str(os.getpid())
    assert service_manager({}) == ("", math.inf)
    given = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "60000000"}
    assert service_manager(given) == ("/run/systemd/notify", 60)
    assert service_manager(given | {"WATCHDOG_PID": own})[1] == 60
    assert service_manager(given | {"WATCHDOG_PID": own + "0"})[1] == math.inf, "another's"
