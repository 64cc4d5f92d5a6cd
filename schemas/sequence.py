"""How a candle follows the last one of its symbol, by their close times alone.

The worker, back-fill and every command that reads candle files go by these rules. Two feeds may
give the same candle another close time, such as ...999 ms and the full minute, so times are
compared with half an interval to spare.
"""

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise


class Place(Enum):
    NEXT = "next"
    SAME = "same"
    """The last candle once more: from another feed, sent twice, or revised."""
    BEFORE = "before"
    """An older candle, which comes too late."""


def place(last_ms: int, close_time_ms: int, interval_ms: int) -> Place:
    """Where a candle belongs whose symbol has closed last at `last_ms`."""
    after_ms = close_time_ms - last_ms
    if 2 * abs(after_ms) < interval_ms:
        return Place.SAME
    return Place.NEXT if after_ms > 0 else Place.BEFORE


def missing_between(last_ms: int, close_time_ms: int, interval_ms: int) -> int:
    """How many candles are missing between two that follow each other."""
    return max(0, (close_time_ms - last_ms + interval_ms // 2) // interval_ms - 1)


def shortest_gap_ms(missing: int, interval_ms: int) -> int:
    """The shortest time between two candles of which so many are missing between them."""
    return (missing + 1) * interval_ms - interval_ms // 2


def start_after_gaps(times_ms: Sequence[int], until_ms: int, too_long_ms: float) -> int:
    """The index behind the last gap of `too_long_ms` or more between these candles, up to the one
    that closes at `until_ms`. 0 without such a gap; `len(times_ms)` if it is the last one.
    """
    start = 0
    for i, (before_ms, after_ms) in enumerate(pairwise([*times_ms, until_ms]), start=1):
        if after_ms - before_ms >= too_long_ms:
            start = i
    return start


def missing_within(first_ms: int, last_ms: int, count: int, interval_ms: int) -> int:
    """How many candles are missing among `count` candles, of which these are the first and last."""
    return max(0, (last_ms - first_ms + interval_ms // 2) // interval_ms - (count - 1))
