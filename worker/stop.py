"""Requests by signals: to stop (SIGTERM, SIGINT), or to read the settings again (SIGHUP).

On a stop request, the current batch is finished and every wait ends.
"""

import signal
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

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def listen_for_hangup(self) -> None:
        """By default, SIGHUP would end a worker at once, with its leases held."""
        signal.signal(signal.SIGHUP, self._on_hangup)

    def sleep(self, seconds: float) -> None:
        self.interrupts(lambda: time.sleep(seconds))

    def interrupts(self, wait: Callable[[], object]) -> None:
        """Run `wait`; a signal interrupts it wherever it blocks.

        Python retries a system call that was interrupted by a signal (PEP 475), so only an
        exception can end a blocking read. `wait` must not do anything that could be left half done.
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

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signum, signal.SIG_DFL)
        if self._may_interrupt:
            self._may_interrupt = False
            raise Stopped


def interrupt_on(*signals: signal.Signals) -> None:
    """From now on these raise KeyboardInterrupt, even if the process that started us ignores them.

    A shell ignores SIGINT for its background jobs, and Python then leaves it ignored.
    """
    for number in signals:
        signal.signal(number, signal.default_int_handler)
