"""Stopping by real signals: a wait is interrupted, a batch is not, and a second signal kills."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from marketstate.worker.stop import Stop

SIGNALS = [signal.SIGTERM, signal.SIGINT]
PATIENCE_S = 20.0


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A Stop that listens; the previous signal handlers are restored afterwards."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    stop = Stop()
    stop.listen()
    yield stop
    for signum, handler in before.items():
        signal.signal(signum, handler)


class Blocking:
    """A wait that blocks in a system call, as a read from Redis does, until a signal arrives.

    `signum` is sent once the wait has started; if it does not interrupt the wait, the timeout does.
    """

    def __init__(self, signum: int) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(PATIENCE_S)
        self._began = threading.Event()
        self._ended = threading.Event()
        self._sender = threading.Thread(target=self._send, args=(signum,))
        self.timed_out = False

    def wait(self) -> None:
        self.begin()
        try:
            self._ours.recv(1)
        except TimeoutError:
            self.timed_out = True
        finally:
            self._ended.set()

    def begin(self) -> None:
        self._began.set()

    def _send(self, signum: int) -> None:
        """Send it to the main thread, as in a process with one thread.

        A signal that arrives just before the system call is only noticed after it, so the signal is
        sent again until it is noticed.
        """
        main = threading.main_thread().ident
        assert main is not None
        self._began.wait(PATIENCE_S)
        while not self._ended.wait(0.1) and signal.getsignal(signum) is not signal.SIG_DFL:
            signal.pthread_kill(main, signum)

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._sender.join()
        self._ours.close()
        self._theirs.close()


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_interrupts_a_wait(stop: Stop, signum: int) -> None:
    """G6: on a clean stop, shards are released at once."""
    with Blocking(signum) as blocking:
        stop.interrupts(blocking.wait)
    assert stop.requested
    assert not blocking.timed_out


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_does_not_interrupt_anything_else(stop: Stop, signum: int) -> None:
    """G3: the current batch is finished."""
    done = []
    os.kill(os.getpid(), signum)
    done.append("commit")
    assert stop.requested
    assert done == ["commit"]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_after_a_wait_does_not_interrupt_what_follows(stop: Stop, signum: int) -> None:
    stop.interrupts(lambda: None)
    os.kill(os.getpid(), signum)
    assert stop.requested


def test_a_signal_after_a_wait_that_failed_interrupts_nothing(stop: Stop) -> None:
    def fails() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        stop.interrupts(fails)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested


def test_after_a_stop_request_no_wait_starts(stop: Stop) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    began = []
    stop.interrupts(lambda: began.append(True))
    assert began == []


def test_a_signal_ends_a_sleep(stop: Stop) -> None:
    began_s = time.monotonic()
    with Blocking(signal.SIGTERM) as blocking:
        blocking.begin()
        stop.sleep(PATIENCE_S)
    assert time.monotonic() - began_s < PATIENCE_S / 2


def test_stopping_can_be_requested_without_a_signal() -> None:
    stop = Stop()
    assert not stop.requested
    stop.requested = True
    assert stop.requested


def in_a_thread(wait: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_request_ends_the_sleep_of_another_thread() -> None:
    stop = Stop().of_thread()
    sleeper = in_a_thread(lambda: stop.sleep(PATIENCE_S))
    stop.request()
    sleeper.join(PATIENCE_S / 2)
    assert not sleeper.is_alive()
    assert stop.requested


def test_a_request_cuts_the_wait_of_another_thread_and_what_that_raises_is_no_error() -> None:
    """G6: on a clean stop, shards are released at once."""
    stop = Stop().of_thread()
    began, is_cut, done = threading.Event(), threading.Event(), []

    def wait() -> None:
        began.set()
        is_cut.wait()
        raise ConnectionError("cut")

    def stopped() -> None:
        stop.interrupts(wait, cut=is_cut.set)
        done.append("released")

    waiter = in_a_thread(stopped)
    assert began.wait(PATIENCE_S)
    stop.request()
    waiter.join(PATIENCE_S)
    assert done == ["released"]


def test_without_a_request_an_error_in_another_thread_is_one() -> None:
    stop = Stop().of_thread()

    def fails() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        stop.interrupts(fails)


def test_after_the_wait_and_before_the_next_nothing_is_cut() -> None:
    """G3: the commit of the current batch is not disturbed."""
    stop, cuts = Stop().of_thread(), []
    stop.interrupts(lambda: None, cut=lambda: cuts.append("a commit"))
    stop.request()
    stop.interrupts(lambda: cuts.append("a wait"), cut=lambda: cuts.append("a commit"))
    assert cuts == []


def test_a_hangup_reaches_each_thread(stop: Stop) -> None:
    before = signal.getsignal(signal.SIGHUP)
    stop.listen_for_hangup()
    one, two = stop.of_thread(), stop.of_thread()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (one.hung_up, two.hung_up, one.requested) == (True, True, False)


STUBBORN = """
from marketstate.worker.stop import Stop
stop = Stop()
stop.listen()
print("ready", flush=True)
while not stop.requested:
    pass
print("requested", flush=True)
while True:  # a batch that never ends
    pass
"""


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_second_signal_ends_the_process(signum: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signum)
            assert process.stdout.readline() == "requested\n"
            process.send_signal(signum)
            assert process.wait(PATIENCE_S) == -signum
        finally:
            process.kill()
