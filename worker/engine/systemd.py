"""Messages to the service manager, sd_notify(3), and the answer to `marketstate reload`.

With the standard library alone. A loop sends every message itself, never a timer or a thread of its
own for it: the watchdog is there to notice a loop that hangs.
"""

import math
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

from marketstate.worker.errors import WorkerError
from marketstate.worker.log import log
from marketstate.worker.setting_files import ReloadAnswer, write_answer
from marketstate.worker.settings import reload_folder

BETWEEN_S: Final = 5.0
BEATS_PER_WATCHDOG: Final = 4
START_EXTENSION_S: Final = 60
"""Each message extends the start by this much: it may have to wait for a lease to run out."""


class Notifier(Protocol):
    """What a loop tells the service manager."""

    @property
    def longest_wait_s(self) -> float:
        """How long the loop may wait for work between two messages."""

    def ready(self) -> None:
        """The loop has started. Only the first call tells anything."""

    def beat(self, status: Callable[[], object]) -> None:
        """The loop is alive. `status` is called only when a message is due, as it may be costly."""

    def answer(self, answer: ReloadAnswer) -> None:
        """What has become of new settings, for `marketstate reload`, which waits for it."""

    def stopping(self) -> None: ...


class SystemdNotifier:
    """Sends to the socket `address`; nowhere if that is empty.

    `watchdog_s` is how long the service manager waits for a message before it ends the worker.
    """

    def __init__(self, address: str = "", watchdog_s: float = math.inf) -> None:
        self._address = address
        self._between_s = min(BETWEEN_S, watchdog_s / BEATS_PER_WATCHDOG)
        self._next_s = 0.0
        self._is_ready = False

    @property
    def longest_wait_s(self) -> float:
        return self._between_s if self._address else math.inf

    def ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._next_s = 0.0
            self._send("READY=1")

    def beat(self, status: Callable[[], object]) -> None:
        if self._address and time.monotonic() >= self._next_s:
            self.alive(status())

    def alive(self, status: object) -> None:
        lines = ["WATCHDOG=1", _status(status)]
        if not self._is_ready:
            lines.append(f"EXTEND_TIMEOUT_USEC={START_EXTENSION_S * 1_000_000}")
        self._send(*lines)
        self._next_s = time.monotonic() + self._between_s

    def answer(self, answer: ReloadAnswer) -> None:
        folder = reload_folder()
        if folder is None:
            return
        try:
            write_answer(folder, answer)
        except WorkerError as error:
            log.warning("marketstate reload gets no answer: %s", error)

    def stopping(self, status: str = "releasing all shards") -> None:
        self._send("STOPPING=1", _status(status))

    def failed(self, error: object) -> None:
        """`systemctl status` shows this after the worker has ended, until the next start."""
        self._send(_status(error))

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A leading @ stands for a name in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            # The worker continues: the watchdog notices that nothing arrives.
            log.warning("cannot notify the service manager at %s: %s", self._address, error)


def _status(text: object) -> str:
    """In one line: each line of a message is a separate variable."""
    return "STATUS=" + " ".join(str(text).split())
