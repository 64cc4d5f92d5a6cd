"""Workers as child processes: started, watched and stopped by a command."""

import ctypes
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from marketstate.worker.errors import WorkerError

_PR_SET_PDEATHSIG: Final = 1
_PRCTL: Final = ctypes.CDLL(None).prctl


class LocalWorker:
    """`marketstate worker` in a given environment; a context manager that starts and stops it."""

    def __init__(self, environment: Mapping[str, str], log_path: Path) -> None:
        self._environment = environment
        self._log_path = log_path
        self._asked = False

    def check(self) -> None:
        """Raises WorkerError, with the end of its log, if it has ended."""
        if self._process.poll() is not None:
            tail = self._log_path.read_text(errors="replace")[-2_000:]
            raise WorkerError(
                f"the worker ended with exit code {self._process.returncode}:\n{tail}"
            )

    def __enter__(self) -> Self:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "marketstate.worker", "worker"],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal goes to the whole process group, but we stop it ourselves.
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509, one thread calls one function of C
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ask_to_stop()
        self._process.wait()

    def ask_to_stop(self) -> None:
        """Only once: a second signal would kill it while it still holds its leases."""
        if not self._asked:
            self._process.terminate()
        self._asked = True


class LocalWorkers:
    """Several workers, with their logs in a temporary folder."""

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self._environments = environments
        self._workers: list[LocalWorker] = []

    def check(self) -> None:
        for worker in self._workers:
            worker.check()

    def __len__(self) -> int:
        return len(self._environments)

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="marketstate-workers-")
        for i, environment in enumerate(self._environments):
            worker = LocalWorker(environment, Path(self._folder.name) / f"worker-{i}.log")
            self._workers.append(worker.__enter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            worker.__exit__(kind, error, trace)
        self._folder.cleanup()


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Make Linux send us this signal when our parent is gone, even if it was killed."""
    _PRCTL(_PR_SET_PDEATHSIG, number)
