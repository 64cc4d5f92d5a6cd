"""The parts of a history: for each unit and run a file of rows, and how far the unit has come.

What is here after a crash is whole up to the last checkpoint: rows are written through before it,
and what follows them is cut off when the unit goes on.
"""

import os
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

from marketstate.worker.commands.history.rows import ROW
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.findings import Plain

_Count = Annotated[int, Meta(ge=0)]


class Group(msgspec.Struct, frozen=True):
    """Rows of one run that belong together, in the order in which they were published."""

    interval: int
    symbol: int
    rows: int


class Checkpoint(msgspec.Struct):
    """How far a unit has come."""

    entries: _Count = 0
    """Read."""
    rows: list[_Count] = msgspec.field(default_factory=list)
    """Of each run."""
    symbols: list[str] = msgspec.field(default_factory=list)
    marks: list[dict[str, dict[str, str]]] = msgspec.field(default_factory=list)
    """Of each run, by interval and symbol."""
    groups: list[list[Group]] = msgspec.field(default_factory=list)
    """Of each run, in the order of the rows; empty while the unit is under way."""
    counters: list[dict[str, int]] = msgspec.field(default_factory=list)
    """Of each run, once the unit is done; as the following."""
    findings: Plain = msgspec.field(default_factory=Plain)
    told: dict[str, list[str]] = msgspec.field(default_factory=dict)


class Part:
    """The files of one unit."""

    def __init__(self, folder: Path, number: int, runs: int) -> None:
        """Raises FileUnusable if they cannot be read."""
        self._checkpoint_path = folder / f"{number}.json"
        self.paths = [folder / f"{number}-{run}.rows" for run in range(runs)]
        self.checkpoint = self._read() or Checkpoint(rows=[0] * runs)
        self._files: list[BinaryIO] = []

    def open(self) -> None:
        """To go on after the last checkpoint."""
        for path, rows in zip(self.paths, self.checkpoint.rows, strict=True):
            path.touch()
            file = path.open("r+b")
            self._files.append(file)
            length = rows * ROW.itemsize
            # To cut it off there would make a file that is too short longer.
            if file.seek(0, os.SEEK_END) < length:
                raise FileUnusable(f"{path} is damaged: it is shorter than it was; start over")
            file.seek(length)
            file.truncate()

    def write(self, run: int, packed: bytes) -> None:
        self._files[run].write(packed)
        self.checkpoint.rows[run] += len(packed) // ROW.itemsize

    def save(self) -> None:
        """Make a checkpoint."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        new = self._checkpoint_path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(self.checkpoint, order="sorted"))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._checkpoint_path)

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []

    def _read(self) -> Checkpoint | None:
        try:
            found = msgspec.json.decode(self._checkpoint_path.read_bytes(), type=Checkpoint)
            if len(found.rows) != len(self.paths):
                raise ValueError(f"it has the rows of {len(found.rows)} runs")
            return found
        except FileNotFoundError:
            return None
        # Not UTF-8 text is a ValueError, as everything that msgspec refuses.
        except (OSError, ValueError, RecursionError) as error:
            raise FileUnusable(
                f"{self._checkpoint_path} cannot be read: {error}; start over"
            ) from None
