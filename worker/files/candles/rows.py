"""One row of a candle file becomes a candle."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from marketstate.schemas.candle import Candle, CandleRejected
from marketstate.schemas.closed import flag_of
from marketstate.schemas.interval import close_time_ms, interval_ms, read_interval
from marketstate.schemas.symbol import plain
from marketstate.schemas.times import time_ms, times_ms
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.candles.columns import FLAG, Columns, shown
from marketstate.worker.files.candles.table import Row
from marketstate.worker.files.candles.timing import Timing

_NOTHING: Final = frozenset(("", "-", "null", "none", "na", "n/a"))


class Flags:
    """Whether a row says that its candle has closed."""

    def __init__(self, columns: Columns) -> None:
        self._columns = [(i, columns.shown[i]) for i in columns.every(FLAG)]

    def that_it_is_open(self, row: Row) -> str:
        """The flag that says that the candle has not closed, as written; empty if none says so.

        Raises CandleRejected for unclear flags.
        """
        said: dict[bool, str] = {}
        for i, name in self._columns:
            cell = row.cells[i]
            try:
                flag = flag_of(name, cell)
            except ValueError as error:
                raise CandleRejected(str(error)) from None
            if flag is not None:
                said[flag] = f"{name} is {cell}"
        if len(said) > 1:
            raise CandleRejected(f"{said[True]}, but {said[False]}: has it closed?")
        return said.get(False, "")


class RowReader:
    """Knows what each column of one file is."""

    def __init__(
        self, path: Path, symbol: str, interval: str, columns: Columns, when: Timing
    ) -> None:
        self._path = path
        self._symbol, self._interval = symbol, interval
        self._when = when
        self._close = columns.first("close") or 0
        others = ("open", "high", "low", "volume")
        self._others = [(name, i) for name in others if (i := columns.first(name)) is not None]
        self._shown = columns.shown
        self._symbols = columns.first("symbol")
        self._intervals = columns.first("interval")
        self._names_its_series = self._symbols is not None or self._intervals is not None

    @property
    def time_column(self) -> tuple[int, str]:
        """Of the time: its index and its name."""
        return self._when.column, self._when.name

    def read(self, rows: Sequence[Row]) -> Sequence[Candle | CandleRejected]:
        """What each row is. Raises FileUnusable if one belongs to another series."""
        return self._by_columns(rows) or [self._candle_or_error(row) for row in rows]

    def _by_columns(self, rows: Sequence[Row]) -> list[Candle] | None:
        """What `_candle` makes of each, in half the time; None if any of them has something odd."""
        when, nothing = self._when, repeat(None)
        columns = list(zip(*[row.cells for row in rows], strict=True))
        if not columns or not self._all_are_of_this_series(columns):
            return None
        try:
            closes = _usual_numbers(columns[self._close])
            others = {name: _usual_numbers(columns[i], name) for name, i in self._others}
            times = times_ms(columns[when.column])
            opened: Iterable[int | None] = times if when.is_open else nothing
            if when.open_column is not None:
                opened = times_ms(columns[when.open_column])
        except ValueError:
            return None
        if when.is_open:
            times = [close_time_ms(time, self._interval) for time in times]
        prices = (others.get(name, nothing) for name in ("open", "high", "low", "volume"))
        return [
            Candle(
                symbol=self._symbol,
                interval=self._interval,
                close=close,
                close_time=time,
                open=first,
                high=high,
                low=low,
                volume=volume,
                open_time=open_time,
            )
            for close, time, open_time, first, high, low, volume in zip(
                closes, times, opened, *prices, strict=False
            )
        ]

    def _all_are_of_this_series(self, columns: Sequence[Sequence[str]]) -> bool:
        symbols = set() if self._symbols is None else {*columns[self._symbols]}
        intervals = set() if self._intervals is None else {*columns[self._intervals]}
        return all(not each or _same_symbol(each, self._symbol) for each in symbols) and all(
            not each or _same_interval(each, self._interval) for each in intervals
        )

    def _candle_or_error(self, row: Row) -> Candle | CandleRejected:
        try:
            return self._candle(row)
        except CandleRejected as error:
            return error

    def _candle(self, row: Row) -> Candle:
        cells, when = row.cells, self._when
        if self._names_its_series:
            self._refuse_another_series(row)
        time = self._time(cells, when.column)
        opened = time if when.is_open else None
        if when.open_column is not None and cells[when.open_column]:
            opened = self._time(cells, when.open_column)
        usable: Any = {}
        for name, i in self._others:
            value = self._number(cells, i)
            # Only the close is needed: others that cannot be right are left out.
            if value is not None and (0.0 < value < math.inf or (name == "volume" and value == 0)):
                usable[name] = value
        close = self._number(cells, self._close)
        if close is None or not 0.0 < close < math.inf:
            raise CandleRejected(
                f"{self._shown[self._close]} is {cells[self._close][:40]!r}; expected a number "
                "above 0"
            )
        return Candle(
            symbol=self._symbol,
            interval=self._interval,
            close=close,
            close_time=close_time_ms(time, self._interval) if when.is_open else time,
            open_time=opened,
            **usable,
        )

    def _time(self, cells: list[str], column: int) -> int:
        try:
            return time_ms(cells[column])
        except ValueError as error:
            raise CandleRejected(f"{self._shown[column]}: {error}") from None

    def _number(self, cells: list[str], column: int) -> float | None:
        text = cells[column]
        try:
            if text.isascii() and "_" not in text:
                return float(text)
        except ValueError:
            if text.lower() in _NOTHING:
                return None
        raise CandleRejected(f"{self._shown[column]} is {text[:40]!r}; expected a number")

    def _refuse_another_series(self, row: Row) -> None:
        where = f"{self._path}, line {row.line}"
        if self._symbols is not None:
            cell = row.cells[self._symbols]
            if cell and not _same_symbol(cell, self._symbol):
                raise FileUnusable(
                    f"{where}: {self._shown[self._symbols]} is {shown(cell)}, but the name or "
                    f"--symbol says {self._symbol}; a file holds one symbol"
                )
        if self._intervals is not None:
            cell = row.cells[self._intervals]
            if cell and not _same_interval(cell, self._interval):
                raise FileUnusable(
                    f"{where}: {self._shown[self._intervals]} is {shown(cell)}, but the name or "
                    f"--interval says {self._interval}"
                )


def _usual_numbers(cells: Sequence[str], name: str = "") -> list[float]:
    """Raises ValueError if any of them is no number, or one that needs a closer look."""
    values = [*map(float, cells)]
    is_right = min(values) > 0.0 or (name == "volume" and min(values) == 0.0)
    # The sum is not finite if one of them is not.
    text = "".join(cells)
    if not is_right or not math.isfinite(sum(values)) or "_" in text or not text.isascii():
        raise ValueError(f"not all of {name} are usual")
    return values


@lru_cache(maxsize=1_024)
def _same_symbol(one: str, other: str) -> bool:
    return plain(one) == plain(other)


@lru_cache(maxsize=1_024)
def _same_interval(text: str, interval: str) -> bool:
    """A number alone may be minutes or seconds; the rows' spacing shows the rest."""
    if text.isdecimal():
        length_ms = interval_ms(interval)
        return length_ms in (int(text) * 60_000, int(text) * 1_000, int(text))
    found = read_interval(text)
    return found is None or interval_ms(found) == interval_ms(interval)
