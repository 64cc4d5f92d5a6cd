"""Whether the content of a candle file can be what its name, or its columns, say that it is.

It goes by a sample of rows. Single odd rows are no contradiction.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketstate.schemas.candle import Candle
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.sequence import Place, place
from marketstate.worker.errors import FileUnusable

# How far the time between two candles may be from whole intervals: months differ in length.
_TOLERANCE: Final = 0.12
_FEWEST_STEPS: Final = 3
_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}


class Sample(NamedTuple):
    """Of candles: an element for each; nan for what it has not."""

    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    open_time_ms: NDArray[np.float64]
    close_time_ms: NDArray[np.float64]


def sample_of(candles: Sequence[Candle]) -> Sample:
    # Times, too, are floats: exact up to 2**53 ms.
    return Sample(
        np.array([one.open for one in candles], float),
        np.array([one.high for one in candles], float),
        np.array([one.low for one in candles], float),
        np.array([one.close for one in candles], float),
        np.array([one.open_time for one in candles], float),
        np.array([one.close_time for one in candles], float),
    )


def refuse_other_interval(path: Path, interval: str, sample: Sample) -> None:
    """Raise FileUnusable if these candles cannot have this interval."""
    length_ms = interval_ms(interval) or 1
    lengths_ms = sample.close_time_ms - sample.open_time_ms + 1
    lengths_ms = lengths_ms[~np.isnan(lengths_ms)]
    usual_ms = int(median_low(lengths_ms)) if len(lengths_ms) else length_ms
    if abs(usual_ms - length_ms) > _TOLERANCE * length_ms:
        raise FileUnusable(
            f"{path}: its candles last {_spoken(usual_ms)} from open to close time, but its name "
            f"or --interval says {interval}"
        )
    different_ms = np.unique(sample.close_time_ms)
    if (np.diff(different_ms) == length_ms).all():
        return
    times_ms = [*map(int, different_ms)]
    steps_ms = [
        later - earlier for earlier, later in pairwise(_without_doubles(times_ms, length_ms))
    ]
    fitting = [round(step / length_ms) for step in steps_ms if _fits(step / length_ms)]
    if len(steps_ms) < _FEWEST_STEPS:
        return
    if 2 * len(fitting) <= len(steps_ms):
        apart_ms = median_low([later - earlier for earlier, later in pairwise(times_ms)])
    elif math.gcd(*fitting) > 1:
        apart_ms = Counter(steps_ms).most_common(1)[0][0]
    else:
        return
    raise FileUnusable(
        f"{path}: its rows are {_spoken(apart_ms)} apart, but its name or --interval says "
        f"{interval}"
    )


def broken_rows(sample: Sample) -> list[int]:
    """The rows, by index, that show that the prices are in another order than they are taken for;
    none if there are only few.
    """
    high, low, close = sample.high, sample.low, sample.close
    opened = np.where(np.isnan(sample.open), close, sample.open)
    are_known = ~(np.isnan(high) | np.isnan(low))
    # A candle in which nothing moved fits any order.
    telling = are_known & ~((opened == high) & (high == low) & (low == close))
    impossible = are_known & ~((low <= close) & (close <= high))
    if _is_many(impossible, telling, 5):
        return np.flatnonzero(impossible).tolist()
    # On some exchanges a candle opens at the last close, which may be outside of it.
    outside = are_known & ~impossible & ~((low <= opened) & (opened <= high))
    return np.flatnonzero(outside).tolist() if _is_many(outside, telling, 2) else []


def open_and_close_are_swapped(sample: Sample) -> bool:
    """Whether each candle closes where the one before it opens: prices go on from close to open."""
    in_order = np.argsort(sample.close_time_ms, kind="stable")
    opens, closes = np.log(sample.open[in_order]), np.log(sample.close[in_order])
    right = np.nansum(np.abs(opens[1:] - closes[:-1])[~np.isnan(opens[:-1])])
    wrong = np.nansum(np.abs(opens[:-1] - closes[1:])[~np.isnan(opens[1:])])
    return len(in_order) > _FEWEST_STEPS and bool(4 * wrong < right)


def _is_many(found: NDArray[np.bool_], among: NDArray[np.bool_], part: int) -> bool:
    n, of = int(np.count_nonzero(found)), int(np.count_nonzero(among))
    return n > 0 and (n == of or (n >= _FEWEST_STEPS and part * n > of))


def _without_doubles(times_ms: Sequence[int], length_ms: int) -> list[int]:
    kept = list(times_ms[:1])
    for time_ms in times_ms[1:]:
        if place(kept[-1], time_ms, length_ms) is Place.NEXT:
            kept.append(time_ms)
    return kept


def _fits(intervals: float) -> bool:
    return round(intervals) >= 1 and abs(intervals - round(intervals)) <= _TOLERANCE


def _spoken(ms: int) -> str:
    """A length of time, such as 1h; a millisecond too few is the difference to the last one."""
    whole = next((ms + add for add in (0, 1) if (ms + add) % 1_000 == 0), ms)
    for unit, unit_ms in _UNITS_MS.items():
        if whole and whole % unit_ms == 0:
            return f"{whole // unit_ms}{unit}"
    return f"{ms:,} ms"
