"""Requests by signals: to stop (SIGTERM, SIGINT), or to read the settings again (SIGHUP).

On a stop request, the current batch is finished and every wait ends. Python runs signal handlers in
the main thread, so another thread has a `ThreadStop`, and the main thread hands the request on.
"""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType


class Stopped(BaseException):
    """Raised out of an interruptible wait; never seen outside `Stop.interrupts`."""


class Stop:
    """Set by a signal. A second signal of the same kind has its default effect: it kills us."""

    def __init__(self) -> None:
        self.requested = False
        self.hung_up = False
        """Set by SIGHUP; it ends no wait."""
        self._may_interrupt = False
        self._of_threads: list[ThreadStop] = []

    def of_thread(self) -> "ThreadStop":
        """The same for another thread; SIGHUP reaches it, too."""
        stop = ThreadStop()
        self._of_threads.append(stop)
        return stop

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def listen_for_hangup(self) -> None:
        """By default, SIGHUP would end a worker at once, with its leases held."""
        signal.signal(signal.SIGHUP, self._on_hangup)

    def sleep(self, seconds: float) -> None:
        self.interrupts(lambda: time.sleep(seconds))

    def interrupts(
        self,
        wait: Callable[[], object],
        cut: Callable[[], object] | None = None,  # noqa: ARG002, a signal needs none
    ) -> None:
        """Run `wait`; a signal interrupts it wherever it blocks.

        Python retries a system call that was interrupted by a signal (PEP 475), so only an
        exception can end a blocking read. `wait` must not do anything that could be left half done.
        In another thread, `cut` ends it: it is called from the main thread, and makes `wait` raise.
        """
        try:
            try:
                self._may_interrupt = True
                if not self.requested:
                    wait()
            finally:
                self._may_interrupt = False
        except Stopped:
            pass

    def _on_hangup(self, _signum: int, _frame: FrameType | None) -> None:
        self.hung_up = True
        for stop in self._of_threads:
            stop.hung_up = True

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signum, signal.SIG_DFL)
        if self._may_interrupt:
            self._may_interrupt = False
            raise Stopped


class ThreadStop(Stop):
    """The stop of a thread that is not the main one. Another thread calls `request`."""

    def __init__(self) -> None:
        super().__init__()
        self._was_requested = threading.Event()
        self._lock = threading.Lock()
        self._cut: Callable[[], object] | None = None

    def request(self) -> None:
        self.requested = True
        self._was_requested.set()
        with self._lock:
            if self._cut is not None:
                self._cut()

    def sleep(self, seconds: float) -> None:
        self._was_requested.wait(seconds)

    def interrupts(
        self, wait: Callable[[], object], cut: Callable[[], object] | None = None
    ) -> None:
        with self._lock:
            self._cut = cut
        try:
            if not self.requested:
                wait()
        except Exception:
            if not self.requested:
                raise
        finally:
            # A cut that is under way ends first, so that none meets what follows.
            with self._lock:
                self._cut = None


def interrupt_on(*signals: signal.Signals) -> None:
    """From now on these raise KeyboardInterrupt, even if the process that started us ignores them.

    A shell ignores SIGINT for its background jobs, and Python then leaves it ignored.
    """
    for number in signals:
        signal.signal(number, signal.default_int_handler)
