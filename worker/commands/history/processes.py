"""Runs the units of a job: here, or in several processes, each of which takes one after another.

What a process has calculated is in its parts, so nothing comes back but how far it is, and an
error.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NamedTuple

from marketstate.worker.commands.history.job import Job, Unit
from marketstate.worker.commands.history.unit import work
from marketstate.worker.engine.collector import spare_the_collector, spared_collector
from marketstate.worker.errors import WorkerError
from marketstate.worker.local.workers import end_with_parent

LOOK_S: Final = 0.1

GoOn = Callable[[int], bool]
"""Told how many entries all units together have read; False to stop."""


def work_on(job: Job, units: Sequence[Unit], processes: int, go_on: GoOn) -> bool:
    """Calculate the units; False if that was stopped. Raises what a unit raises."""
    read = [0] * len(units)

    def note(place: int, entries: int) -> bool:
        read[place] = entries
        return go_on(sum(read))

    if min(processes, len(units)) > 1:
        return _Processes(job, units, processes).run(go_on)
    with spared_collector():
        return all(work(job, unit, partial(note, place)) for place, unit in enumerate(units))


class _Processes:
    def __init__(self, job: Job, units: Sequence[Unit], processes: int) -> None:
        # Each is a new one, not a copy of this process, which may have threads.
        context = multiprocessing.get_context("spawn")
        # Kept here: it must not be gone before the processes have it.
        self._shared = _Shared(
            context.Value("i", 0),
            context.Value("b", 0),
            context.Array("q", len(units), lock=False),
            os.getpid(),
        )
        self._children: dict[Connection, Any] = {}
        for _ in range(min(processes, len(units))):
            ours, theirs = context.Pipe(duplex=False)
            of_child = (job, units, self._shared, theirs)
            child = context.Process(target=_work_on_some, args=of_child, daemon=True)
            child.start()
            theirs.close()
            self._children[ours] = child

    def run(self, go_on: GoOn) -> bool:
        waiting, whole = list(self._children), True
        try:
            while waiting:
                for answered in wait(waiting, LOOK_S):
                    assert isinstance(answered, Connection)
                    waiting.remove(answered)
                    whole &= self._answer(answered)
                if not go_on(sum(self._shared.read)):
                    self._shared.stop.value = 1
        finally:
            self._shared.stop.value = 1
            for child in self._children.values():
                child.join()
        return whole

    def _answer(self, answered: Connection) -> bool:
        """Raises what the process raised."""
        try:
            answer = answered.recv()
        except EOFError:
            child = self._children[answered]
            child.join()
            raise WorkerError(
                f"a process ended with exit code {child.exitcode}, as if it had been killed; "
                "--resume continues from where it was"
            ) from None
        if isinstance(answer, WorkerError):
            raise answer
        return bool(answer)


class _Shared(NamedTuple):
    """What all processes of a job see."""

    following: Any
    """The place of the unit that nobody has taken yet."""
    stop: Any
    read: Any
    parent: int


def _work_on_some(job: Job, units: Sequence[Unit], shared: _Shared, answer: Connection) -> None:
    # Only the parent is asked to stop; it hands that on. If it is killed, so are we: another one
    # may continue with the parts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)
    spare_the_collector()

    def note(place: int, entries: int) -> bool:
        shared.read[place] = entries
        return not shared.stop.value

    try:
        while os.getppid() == shared.parent:
            with shared.following.get_lock():
                place = shared.following.value
                shared.following.value += 1
            if place >= len(units):
                break
            if not work(job, units[place], partial(note, place)):
                answer.send(False)
                return
        answer.send(True)
    except WorkerError as error:
        answer.send(error)
