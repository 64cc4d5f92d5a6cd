"""The whole of a history, from its parts: every row in its place, as blocks of one run."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from marketstate.worker.commands.history.job import Job
from marketstate.worker.commands.history.parts import Part
from marketstate.worker.commands.history.rows import ROW, Rows

ROWS_AT_ONCE: Final = 32_768


class Block(NamedTuple):
    """Rows that follow each other; of one run, one interval and one symbol."""

    run: int
    interval: int
    symbol: str
    rows: Rows


class Whole:
    """What all units have calculated."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.parts = [Part(job.folder, unit.number, len(job.runs)) for unit in job.units]
        self.symbols = sorted({name for part in self.parts for name in part.checkpoint.symbols})

    @property
    def rows(self) -> int:
        return sum(sum(part.checkpoint.rows) for part in self.parts)

    def symbols_of(self, interval: int) -> set[str]:
        """Those with states of it, in any run."""
        return {
            part.checkpoint.symbols[group.symbol]
            for part in self.parts
            for groups in part.checkpoint.groups
            for group in groups
            if group.interval == interval
        }

    def blocks(self) -> Iterator[Block]:
        """By run, interval, symbol and close time."""
        for run in range(len(self._job.runs)):
            for (interval, symbol), (part, first, rows) in sorted(self._places(run).items()):
                with part.paths[run].open("rb") as file:
                    file.seek(first * ROW.itemsize)
                    for left in range(rows, 0, -ROWS_AT_ONCE):
                        some = np.fromfile(file, ROW, min(left, ROWS_AT_ONCE))
                        yield Block(run, interval, symbol, some)

    def _places(self, run: int) -> dict[tuple[int, str], tuple[Part, int, int]]:
        """Of each interval and symbol: the part, the first row there, and how many there are."""
        found = {}
        for part in self.parts:
            first = 0
            for group in part.checkpoint.groups[run]:
                symbol = part.checkpoint.symbols[group.symbol]
                found[group.interval, symbol] = (part, first, group.rows)
                first += group.rows
        return found
