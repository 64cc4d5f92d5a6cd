"""Real worker processes that come and go, and whether they ended as they should."""

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fault.chaos.clock import Clock
from tests.support.processes import MARKETSTATE, environment

AT_WORK: Final = re.compile(rb"(p[0-9]+ )?holding ")
"""In the log of a worker that has started; during its start, a worker may give up on Redis. With
partitions, each of its loops says so.
"""
REDIS_AWAY: Final = "marketstate: Redis at "
GROUP_DELETED: Final = "has been deleted"
MOST_OF_A_START: Final = 50_000
"""Bytes."""
MOST_SECONDS_TO_STOP: Final = 20.0
BETWEEN_RESTARTS_S: Final = 0.3
AFTER_AN_EXCUSE_S: Final = 0.8


@dataclass(eq=False)
class Worker:
    name: str
    process: subprocess.Popen[bytes]
    log_path: Path
    clock: Clock
    loops: int
    excuses: Sequence[str] = ()
    """With one of these in its last words, and exit code 3, it may end."""
    is_paused: bool = False
    is_ready: bool = False
    must_stop_by_s: float | None = None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def last_words(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - 2_000))
            return log.read().decode(errors="replace")

    def has_begun(self) -> bool:
        with self.log_path.open("rb") as log:
            return len(set(AT_WORK.findall(log.read(MOST_OF_A_START)))) >= self.loops


@dataclass
class Ear:
    """Hears one text in logs that grow."""

    text: str
    heard_up_to: dict[Path, int]
    times: int = 0

    def listen(self, logs: Iterable[Path]) -> int:
        for path in logs:
            with path.open("rb") as log:
                log.seek(self.heard_up_to.setdefault(path, 0))
                new, _, _ = log.read().rpartition(b"\n")
            self.heard_up_to[path] += len(new)
            self.times += new.count(self.text.encode())
        return self.times


class WorkerProcesses:
    """`complain` is called for everything that a worker should not have done."""

    def __init__(
        self,
        code: Path,
        folder: Path,
        clock_library: Path,
        settings: dict[str, object],
        complain: Callable[[str], None],
    ) -> None:
        self._code = code
        self._folder = folder
        self._clock_library = clock_library
        self._excuses: Sequence[str] = ()
        self._ears: dict[str, Ear] = {}
        self._settings = settings
        self._loops = int(str(settings.get("partitions", 1)))
        self._complain = complain
        self._count = 0
        self._restarts_due_s: list[float] = []
        self.workers: list[Worker] = []
        self.restarts = True
        """Whether to restart workers that fail during their start."""
        self.group_is_deleted = False
        """If true, all must end with exit code 3 and the reason, and none is restarted."""
        self.excused_ends = 0
        """How many have ended with an excuse."""

    def start(self) -> Worker:
        """Start a worker with a name that was never used before."""
        self._count += 1
        name = f"w{self._count:03d}"
        log_path = self._folder / f"{name}.log"
        clock = Clock(self._clock_library, self._folder / f"{name}.clock")
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [*MARKETSTATE, "worker"],
                cwd=self._code,
                # The libraries' threads would only fight for the few cores.
                env=environment(**self._settings, worker_id=name)
                | {"PYTHONPATH": str(self._code), "OMP_NUM_THREADS": "1"}
                | clock.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        worker = Worker(name, process, log_path, clock, self._loops, self._excuses)
        self.workers.append(worker)
        return worker

    @property
    def size(self) -> int:
        """How many run or will soon; without those that were told to stop."""
        leaving = sum(worker.must_stop_by_s is not None for worker in self.workers)
        return len(self.workers) - leaving + len(self._restarts_due_s)

    def able(self) -> list[Worker]:
        """The workers that have started and are not affected by a fault."""
        return [
            worker
            for worker in self.workers
            if worker.is_ready and not worker.is_paused and worker.must_stop_by_s is None
        ]

    def kill(self, worker: Worker) -> None:
        worker.process.kill()
        worker.process.wait()
        self.workers.remove(worker)

    def terminate(self, worker: Worker) -> None:
        worker.must_stop_by_s = time.monotonic() + MOST_SECONDS_TO_STOP
        worker.signal(signal.SIGTERM)

    def pause(self, worker: Worker) -> None:
        worker.is_paused = True
        worker.signal(signal.SIGSTOP)

    def resume(self, worker: Worker) -> None:
        worker.is_paused = False
        worker.signal(signal.SIGCONT)

    def excuse(self, reasons: Sequence[str]) -> None:
        """All that live now, and all that are started until there are `no_more_excuses`."""
        self._excuses = reasons
        for worker in self.workers:
            worker.excuses = reasons

    def no_more_excuses(self) -> None:
        self._excuses = ()

    def said(self, text: str) -> int:
        """How many lines of all workers have the text, since this was asked for the first time."""
        logs = list(self._folder.glob("w*.log"))
        ear = self._ears.setdefault(text, Ear(text, {path: path.stat().st_size for path in logs}))
        return ear.listen(logs)

    def watch(self) -> None:
        """Notice workers that have ended. One that failed during its start is started again, as
        systemd would do: it may end with exit code 3 if Redis was away at that moment.
        """
        now_s = time.monotonic()
        for worker in list(self.workers):
            code = worker.process.poll()
            if code is not None:
                self.workers.remove(worker)
                self._judge(worker, code, now_s)
            elif worker.must_stop_by_s is not None and now_s > worker.must_stop_by_s:
                self._complain(f"{worker.name} has not stopped after {MOST_SECONDS_TO_STOP:.0f} s")
                self.kill(worker)
            elif not worker.is_ready and not worker.is_paused:
                worker.is_ready = worker.has_begun()
        if self.group_is_deleted or not self.restarts:
            self._restarts_due_s.clear()
        for due_s in [due_s for due_s in self._restarts_due_s if due_s < now_s]:
            self._restarts_due_s.remove(due_s)
            self.start()

    def kill_all(self) -> None:
        for worker in list(self.workers):
            self.kill(worker)

    def _judge(self, worker: Worker, code: int, now_s: float) -> None:
        if worker.must_stop_by_s is not None and code == 0:
            return
        # A worker that is told to stop while it ends by itself may end by the signal.
        codes = (3,) if worker.must_stop_by_s is None else (3, -signal.SIGTERM)
        if code in codes and any(reason in worker.last_words() for reason in worker.excuses):
            self.excused_ends += 1
            if worker.must_stop_by_s is None:
                self._restarts_due_s.append(now_s + AFTER_AN_EXCUSE_S)
            return
        begun = worker.is_ready or worker.has_begun()
        found_redis_away = not begun and code == 3 and REDIS_AWAY in worker.last_words()
        if self.group_is_deleted:
            if not found_redis_away and (code != 3 or GROUP_DELETED not in worker.last_words()):
                self._complain(
                    f"{worker.name} ended with {code} when the group was deleted, not with 3 and "
                    f"the reason: {_end(worker)}"
                )
            return
        if worker.must_stop_by_s is not None:
            self._complain(f"{worker.name} ended with {code} on SIGTERM: {_end(worker)}")
            return
        if not found_redis_away:
            self._complain(f"{worker.name} ended unexpectedly with {code}: {_end(worker)}")
        self._restarts_due_s.append(now_s + BETWEEN_RESTARTS_S)


def _end(worker: Worker) -> str:
    return " | ".join(worker.last_words().splitlines()[-3:])
