"""Reads one candle file, oldest candle first, whichever way its rows are sorted."""

import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Final

from schemas.candle import Candle, CandleRejected, check_symbol
from schemas.sequence import Place
from worker.errors import FileUnusable
from worker.files.candles.columns import show
from worker.files.candles.content import (
    broken_rows,
    open_and_close_are_swapped,
    refuse_other_interval,
)
from worker.files.candles.following import Following, ReadCandle
from worker.files.candles.names import identity
from worker.files.candles.rows import Flags, RowReader
from worker.files.candles.said import NOTHING, Said
from worker.files.candles.table import Row, Table, open_table
from worker.files.candles.timing import timing
from worker.files.findings import Findings
from worker.files.opening import CutOff

SAMPLE_ROWS: Final = 1_000


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
    findings = findings or Findings()
    named, interval = identity(path, said)
    try:
        check_symbol(named)
    except CandleRejected as error:
        raise FileUnusable(f"{path}: {error}") from None
    file = _File(path, open_table(path, said), findings)
    rows = file.closed_rows()
    sample = list(islice(rows, SAMPLE_ROWS))
    if not sample:
        raise FileUnusable(f"{path} has no candles{' that have closed' * (file.count > 0)}")
    when = timing(path, file.table.columns, sample, interval, said)
    reader = RowReader(path, symbol or named, interval, file.table.columns, when)
    first = list(_readable(reader, sample))
    candles = [candle for _, candle in first]
    refuse_other_interval(path, interval, candles)
    _refuse_another_order(file, first)
    everything: Iterator[Row] = chain(sample, rows)
    if _is_newest_first(candles):
        everything = reversed(list(everything))
    yield from _in_order(file, reader, everything, interval)


class _File:
    def __init__(self, path: Path, table: Table, findings: Findings) -> None:
        self.path = path
        self.table = table
        self.findings = findings
        self.count = 0
        self._now_ms = time.time() * 1_000

    def where(self, line: int) -> str:
        return f"{self.path}, line {line}"

    def closed_rows(self) -> Iterator[Row]:
        """The rows with the right number of cells whose candles have closed."""
        columns, flags, line = self.table.columns, Flags(self.table.columns), 0
        expected = len(columns.roles)
        try:
            for row in self.table.rows:
                line, cells = row
                self.count += 1
                if len(cells) > expected and not any(cells[expected:]):
                    del cells[expected:]
                if len(cells) != expected:
                    what = f"found {len(cells)} columns, expected {expected}"
                    self.findings.bad(self.where(line), what)
                    continue
                try:
                    open_flag = flags.that_it_is_open(row)
                except CandleRejected as error:
                    self.findings.bad(self.where(line), str(error))
                    continue
                if open_flag:
                    self.findings.unclosed(self.where(line), open_flag)
                else:
                    yield row
        except CutOff as error:
            what = f"not a candle file from here on: {error}"
            self.findings.bad(self.where(line + 1), what)

    def is_in_future(self, read: ReadCandle) -> bool:
        """No candle of the future can have closed."""
        if read.candle.close_time <= self._now_ms:
            return False
        self.findings.unclosed(read.where, f"{read.written} closes in the future")
        return True


def _readable(reader: RowReader, rows: Sequence[Row]) -> Iterator[tuple[Row, Candle]]:
    for row in rows:
        try:
            yield row, reader.candle(row)
        except CandleRejected:
            continue


def _refuse_another_order(file: _File, first: Sequence[tuple[Row, Candle]]) -> None:
    candles = [candle for _, candle in first]
    columns = file.table.columns
    if broken := broken_rows(candles):
        row = first[broken[0]][0]
        raise FileUnusable(
            f"{file.where(row.line)}: in {len(broken)} of {len(candles)} rows, open or close are "
            f"not between low and high, as here: {show(columns, row.cells)}"
        )
    if open_and_close_are_swapped(candles):
        row = first[0][0]
        raise FileUnusable(
            f"{file.where(row.line)}: candles close where the one before opens, so open and close "
            f"must be swapped: {show(columns, row.cells)}"
        )


def _is_newest_first(candles: Sequence[Candle]) -> bool:
    steps = [later.close_time - earlier.close_time for earlier, later in pairwise(candles)]
    return min(steps, default=0) < 0 and max(steps, default=0) <= 0


def _in_order(
    file: _File, reader: RowReader, rows: Iterator[Row], interval: str
) -> Iterator[ReadCandle]:
    following = Following(interval, file.findings)
    for row in rows:
        try:
            candle = reader.candle(row)
        except CandleRejected as error:
            file.findings.bad(file.where(row.line), str(error))
            continue
        read = ReadCandle(candle, file.where(row.line), reader.time_as_written(row))
        if not file.is_in_future(read):
            found = following.place_of(read)
            if found is Place.NEXT:
                yield read
            elif found is Place.BEFORE:
                file.findings.bad(read.where, following.out_of_order(read))
