"""The folder of the parts, beside the file that is asked for: `states.parquet.parts`.

Its plan says what they are parts of. A history that was interrupted continues only as the same one.
"""

import fcntl
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from marketstate.worker.commands.history.job import Job
from marketstate.worker.errors import ConfigurationError, FileUnreadable, FileUnusable

SUFFIX: Final = ".parts"
_PLAN: Final = "plan.json"
_SETTINGS: Final = (
    *("candle_interval", "publish_interval", "emit_on_regime_change", "window_size", "max_ahead"),
    *("max_gap", "retire_after", "partitions", "max_symbols"),
)
"""Those that states depend on, besides theta and symbols."""


class Plan(msgspec.Struct):
    shares: int
    what: dict[str, Any]
    """All that the rows depend on, by names for people."""


def plan_of(job: Job) -> Plan:
    # As JSON has it, to compare with what was read.
    what = msgspec.json.decode(msgspec.json.encode(_what(job)))
    return Plan(job.shares, what)


def folder_of(out: Path) -> Path:
    return out.with_name(out.name + SUFFIX)


class Folder:
    """Belongs to one process at a time. Removed when the file is whole."""

    def __init__(self, out: Path, plan: Plan, *, resume: bool) -> None:
        """Raises ConfigurationError if there are parts that must not be touched."""
        self._out = out
        self.path = folder_of(out)
        if resume:
            self._open()
            found = self._read()
            _refuse_another(found, plan)
            plan = found
        else:
            self._create(plan)
        self.shares = plan.shares
        """Into which recordings are divided."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        os.close(self._lock)
        # With such files or settings, nobody resumes; but what cannot be read may be again.
        if isinstance(error, ConfigurationError) and not isinstance(error, FileUnreadable):
            shutil.rmtree(self.path, ignore_errors=True)

    def finish(self, new: Path) -> None:
        """Give the whole file its name."""
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(self._out)
        shutil.rmtree(self.path)

    def _create(self, plan: Plan) -> None:
        try:
            self.path.mkdir()
        except FileExistsError:
            raise ConfigurationError(
                f"{self.path} has the parts of a history that was interrupted; continue it with "
                "--resume, or delete that folder"
            ) from None
        except OSError as error:
            raise FileUnusable(f"cannot write {self.path}: {error.strerror}") from None
        self._open()
        (self.path / _PLAN).write_bytes(msgspec.json.encode(plan))

    def _open(self) -> None:
        try:
            self._lock = os.open(self.path, os.O_RDONLY)
        except OSError:
            raise ConfigurationError(
                f"there is nothing to resume: {self.path} does not exist"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise ConfigurationError(f"another process is working on {self.path}") from None

    def _read(self) -> Plan:
        path = self.path / _PLAN
        try:
            return msgspec.json.decode(path.read_bytes(), type=Plan)
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{path} cannot be read, so nothing can be resumed: {error}; delete the folder, "
                "and start over"
            ) from None


def _refuse_another(found: Plan, plan: Plan) -> None:
    for name, value in plan.what.items():
        if found.what.get(name) != value:
            raise ConfigurationError(
                f"--resume continues the same history, but this one differs in {name}: resume with "
                "the same files, options and settings, or delete the folder of the parts"
            )


def _what(job: Job) -> dict[str, Any]:
    settings = job.runs[0].settings
    return {
        "its version": version("marketstate-worker"),
        "its files": [(str(path), *_state_of(path)) for path in job.paths],
        "what is said of candle files": [job.said, job.skip_bad, job.allow_gaps],
        "--from and --to": [job.from_ms, job.to_ms],
        "its intervals": job.intervals,
        "its symbols": [settings.symbols, job.symbols],
        "its thetas": [(run.theta, run.settings.theta_hash) for run in job.runs],
        "its settings": {name: getattr(settings, name) for name in _SETTINGS},
    }


def _state_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
