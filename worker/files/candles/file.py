"""Reads one candle file, oldest candle first, whichever way its rows are sorted."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Final

from marketstate.schemas.candle import Candle, CandleRejected, check_symbol
from marketstate.schemas.sequence import Place
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.candles.columns import FLAG, show
from marketstate.worker.files.candles.content import (
    broken_rows,
    open_and_close_are_swapped,
    refuse_other_interval,
    sample_of,
)
from marketstate.worker.files.candles.following import Following, ReadCandle
from marketstate.worker.files.candles.names import identity
from marketstate.worker.files.candles.newest_first import oldest_first
from marketstate.worker.files.candles.rows import Flags, RowReader
from marketstate.worker.files.candles.said import NOTHING, Said
from marketstate.worker.files.candles.table import Row, Table, open_table
from marketstate.worker.files.candles.timing import timing
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.opening import CutOff

ROWS_AT_ONCE: Final = 1_000
"""So many rows are judged together; the first of them show how the file is to be read."""
Found = Candle | CandleRejected
"""What a row is."""


def read_file(
    path: Path,
    findings: Findings | None = None,
    said: Said = NOTHING,
    symbol: str | None = None,
) -> Iterator[ReadCandle]:
    """Its candles by close time, each once. `symbol` is how it is spelled, instead of by the name.

    Raises FileUnusable if this is not a candle file, or its content contradicts its name; bad
    rows, rows out of order and a cut-off end go to `findings`.
    """
    named, interval = identity(path, said)
    try:
        check_symbol(named)
    except CandleRejected as error:
        raise FileUnusable(f"{path}: {error}") from None
    file = _File(path, open_table(path, said), findings or Findings())
    rows = file.closed_rows()
    first = list(islice(rows, ROWS_AT_ONCE))
    if not first:
        raise FileUnusable(f"{path} has no candles{file.why_none}")
    columns = file.table.columns
    when = timing(path, columns, first, interval, said)
    reader = RowReader(path, symbol or named, interval, columns, when)
    if _are_newest_first(_candles(reader.read(first))):
        in_order = oldest_first(chain(first, rows))
    else:
        in_order = iter(chain(first, rows))
    following = Following(interval, file.findings, tell_gaps=False)
    while some := list(islice(in_order, ROWS_AT_ONCE)):
        found = reader.read(some)
        file.refuse_another_content(some, found, interval)
        yield from file.following(some, found, reader, following)


class _File:
    def __init__(self, path: Path, table: Table, findings: Findings) -> None:
        self.path = path
        self._name = str(path)
        self.table = table
        self.findings = findings
        self.why_none = ""
        """What the last row says that had not closed."""
        self._now_ms = time.time() * 1_000

    def where(self, line: int) -> str:
        return f"{self._name}, line {line}"

    def closed_rows(self) -> Iterator[Row]:
        """The rows with the right number of cells whose candles have closed."""
        columns, line = self.table.columns, 0
        flags = Flags(columns) if any(columns.every(FLAG)) else None
        expected = len(columns.roles)
        try:
            for row in self.table.rows:
                line, cells = row.line, row.cells
                # The usual case.
                if flags is None and len(cells) == expected:
                    yield row
                    continue
                if row.broken:
                    self.findings.bad(self.where(line), row.broken)
                    continue
                if len(cells) > expected and not any(cells[expected:]):
                    del cells[expected:]
                if len(cells) != expected:
                    what = f"found {len(cells)} columns, expected {expected}"
                    self.findings.bad(self.where(line), what)
                    continue
                try:
                    open_flag = flags and flags.that_it_is_open(row)
                except CandleRejected as error:
                    self.findings.bad(self.where(line), str(error))
                    continue
                if open_flag:
                    self.findings.unclosed(self.where(line), open_flag)
                    self.why_none = f" that have closed: line {line}: {open_flag}"
                else:
                    yield row
        except CutOff as error:
            what = f"not a candle file from here on: {error}"
            self.findings.bad(self.where(line + 1), what)

    def refuse_another_content(
        self, rows: Sequence[Row], found: Sequence[Found], interval: str
    ) -> None:
        """Raise FileUnusable for rows that cannot be what they are taken for."""
        candles = _candles(found)
        sample = sample_of(candles)
        refuse_other_interval(self.path, interval, sample)
        if broken := broken_rows(sample):
            row = _rows_of_candles(rows, found)[broken[0]]
            raise FileUnusable(
                f"{self.where(row.line)}: in {len(broken)} of {len(candles)} rows, open or close "
                f"are not between low and high, as here: {show(self.table.columns, row.cells)}"
            )
        if open_and_close_are_swapped(sample):
            row = _rows_of_candles(rows, found)[0]
            raise FileUnusable(
                f"{self.where(row.line)}: candles close where the one before them opens, so open "
                f"and close must be swapped: {show(self.table.columns, row.cells)}"
            )

    def following(
        self,
        rows: Sequence[Row],
        found: Sequence[Found],
        reader: RowReader,
        following: Following,
    ) -> Iterable[ReadCandle]:
        """The candles that count."""
        column, name = reader.time_column
        reads = [
            ReadCandle(one, self._name, row.line, name, row.cells[column])
            for row, one in zip(rows, found, strict=True)
            if isinstance(one, Candle)
        ]
        is_usual = len(reads) == len(rows) and self._has_closed(reads[-1].candle)
        if is_usual and following.all_are_next(reads):
            return reads
        return self._one_by_one(rows, found, iter(reads), following)

    def _one_by_one(
        self,
        rows: Sequence[Row],
        found: Sequence[Found],
        reads: Iterator[ReadCandle],
        following: Following,
    ) -> Iterator[ReadCandle]:
        for row, one in zip(rows, found, strict=True):
            if isinstance(one, CandleRejected):
                self.findings.bad(self.where(row.line), str(one))
                continue
            read = next(reads)
            if not self._has_closed(one):
                self.findings.unclosed(read.where, f"{read.written} closes in the future")
                continue
            place = following.place_of(read)
            if place is Place.NEXT:
                yield read
            elif place is Place.BEFORE:
                self.findings.bad(read.where, following.out_of_order(read))

    def _has_closed(self, candle: Candle) -> bool:
        """No candle of the future can have."""
        return candle.close_time <= self._now_ms


def _candles(found: Iterable[Found]) -> list[Candle]:
    return [one for one in found if isinstance(one, Candle)]


def _rows_of_candles(rows: Iterable[Row], found: Iterable[Found]) -> list[Row]:
    return [row for row, one in zip(rows, found, strict=True) if isinstance(one, Candle)]


def _are_newest_first(candles: Sequence[Candle]) -> bool:
    steps = [later.close_time - earlier.close_time for earlier, later in pairwise(candles)]
    return min(steps, default=0) < 0 and max(steps, default=0) <= 0
