"""Which column of a candle file is its time, and whether it is the open or the close time.

`timestamp`, `time`, `date` and the like may be either. What the content does not settle, the
command line must say: it is never guessed.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from marketstate.schemas.interval import interval_ms
from marketstate.schemas.times import are_close_times, time_ms
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.candles.columns import TIME, Columns, shown
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.candles.table import Row

_DAY_MS: Final = 86_400_000
_DATE_ALONE: Final = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}")


class Timing(NamedTuple):
    column: int
    name: str
    is_open: bool
    open_column: int | None
    """Of the open time, if the close time is read and both are there."""


def timing(
    path: Path, columns: Columns, sample: Sequence[Row], interval: str, said: Said
) -> Timing:
    """Raises FileUnusable for what can be read in two ways, and for what contradicts itself."""
    close, opening = columns.first("close_time"), columns.first("open_time")
    if close is not None:
        if said.time == "open" and opening is None:
            raise FileUnusable(f"{path}: --time says open, but {columns.shown[close]} is the close")
        return Timing(close, columns.shown[close], False, opening)
    if opening is not None:
        name = columns.shown[opening]
        if said.time == "close":
            raise FileUnusable(f"{path}: --time says close, but {name} is the open")
        if _are_closes(_readable(sample, opening), interval):
            raise FileUnusable(
                f"{path}: {name} has close times, such as {_first(sample, opening)}; call the "
                "column close_time"
            )
        return Timing(opening, name, True, None)
    return _of_a_time(path, columns, sample, interval, said)


def _of_a_time(
    path: Path, columns: Columns, sample: Sequence[Row], interval: str, said: Said
) -> Timing:
    column = _chosen(path, columns, sample, interval)
    name, times_ms = columns.shown[column], _readable(sample, column)
    if said.time is not None:
        is_open = said.time == "open"
    elif _are_closes(times_ms, interval):
        is_open = False
    elif not columns.have_names:
        # The documented meaning of a column without a name.
        is_open = True
    else:
        raise FileUnusable(
            f"{path}: {name} may be the open or the close time of a candle, such as "
            f"{_first(sample, column)}; say --time open or --time close"
        )
    if is_open and _are_closes(times_ms, interval):
        raise FileUnusable(
            f"{path}: --time says open, but {name} has close times, such as "
            f"{_first(sample, column)}"
        )
    return Timing(column, name, is_open, None)


def _chosen(path: Path, columns: Columns, sample: Sequence[Row], interval: str) -> int:
    """The first column of times that can be read; all others must have the same times."""
    length_ms = interval_ms(interval) or 1
    times_ms = {i: _readable(sample, i) for i in columns.every(TIME)}
    usable = [
        i
        for i, found in times_ms.items()
        if found and not (length_ms < _DAY_MS and _are_dates_alone(sample, i))
    ]
    if not usable:
        listed = ", ".join(f"{columns.shown[i]} {_first(sample, i)!r}" for i in columns.every(TIME))
        raise FileUnusable(
            f"{path}: no time of a {interval} candle in {listed}; expected s, ms, us or ns since "
            "1970, or ISO 8601 with date and time, such as 2025-01-31 23:00:00"
        )
    first, *others = usable
    for other in others:
        pairs = zip(times_ms[first], times_ms[other], strict=False)
        if any(2 * abs(one - two) >= length_ms for one, two in pairs):
            raise FileUnusable(
                f"{path}: {columns.shown[first]} and {columns.shown[other]} are different times, "
                f"such as {_first(sample, first)} and {_first(sample, other)}; say which counts, "
                "such as --columns time,-,open,high,low,close"
            )
    return first


def _are_closes(times_ms: Sequence[int], interval: str) -> bool:
    return are_close_times(times_ms, interval_ms(interval) or 1)


def _are_dates_alone(sample: Sequence[Row], column: int) -> bool:
    return all(_DATE_ALONE.fullmatch(row.cells[column]) for row in sample)


def _readable(sample: Sequence[Row], column: int) -> list[int]:
    found = []
    for row in sample:
        try:
            found.append(time_ms(row.cells[column]))
        except ValueError:
            continue
    return found


def _first(sample: Sequence[Row], column: int) -> str:
    return shown(sample[0].cells[column]) if sample else ""
