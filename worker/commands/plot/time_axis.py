"""The time axis of a plot: days since 1970 in UTC less closed hours, and the dates along it."""

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from matplotlib.axis import Axis
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from marketstate.worker.commands.plot.closed_hours import ClosedHours, Times

_DAY_MS: Final = 86_400_000
# So many dates on an axis at most, and none nearer to another than a part of that share of it: they
# would overlap.
MOST_DATES: Final = 12
_APART: Final = 0.5


def on_axis(times_ms: Times, closed: ClosedHours) -> NDArray[np.float64]:
    """Where these times are on the axis [day]."""
    return closed.left_out(times_ms) / _DAY_MS


def label_dates(
    axis: Axis, closed: ClosedHours, first_ms: int, last_ms: int, most: int = MOST_DATES
) -> None:
    locator: Any = AutoDateLocator(minticks=min(3, most), maxticks=most)  # type: ignore[no-untyped-call]
    first, last = (datetime.fromtimestamp(ms / 1_000, UTC) for ms in (first_ms, last_ms))
    dates = [round(day * _DAY_MS) for day in locator.tick_values(first, last)]
    dates = [ms for ms in dates if first_ms <= ms <= last_ms and _has_place(ms, closed)]
    placed = _apart(np.array(dates, np.int64), closed, (first_ms, last_ms), _APART / most)
    formatter: Any = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    labels: Any = FixedFormatter(formatter.format_ticks((placed / _DAY_MS).tolist()))
    labels.set_offset_string(formatter.get_offset())
    axis.set_major_locator(FixedLocator(on_axis(placed, closed).tolist()))
    axis.set_major_formatter(labels)


def _has_place(ms: int, closed: ClosedHours) -> bool:
    """Not for an hour that is left out. A day that begins in such hours is shown at their end."""
    is_left_out = bool(np.any((closed.starts_ms < ms) & (ms < closed.ends_ms)))
    return not is_left_out or ms % _DAY_MS == 0


def _apart(dates_ms: Times, closed: ClosedHours, span_ms: tuple[int, int], share: float) -> Times:
    start, end = on_axis(np.array(span_ms), closed)
    kept: list[int] = []
    last_place = -np.inf
    for ms, place in zip(dates_ms.tolist(), on_axis(dates_ms, closed).tolist(), strict=True):
        if place == last_place:
            kept[-1] = ms
        elif place - last_place >= share * (end - start):
            kept.append(ms)
            last_place = place
    return np.array(kept, np.int64)
