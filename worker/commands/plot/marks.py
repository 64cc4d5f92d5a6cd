"""What is marked in a series of states: where the regime changes, and where candles are missing."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketstate.worker.commands.plot.closed_hours import Times

# A step that is longer than this many usual steps is a gap.
_BREAK_IN_STEPS: Final = 2.5


class Gaps(NamedTuple):
    """Stretches in which candles are missing, besides closed hours, in ms since 1970."""

    starts_ms: Times
    """Each begins with the last state before it,"""
    ends_ms: Times
    """and ends with the first state after it."""
    candles: NDArray[np.int64]
    """How many are missing in each."""


def changes(regime: NDArray[np.str_]) -> NDArray[np.int64]:
    """The rows whose regime is not that of the row before."""
    found: NDArray[np.int64] = np.flatnonzero(regime[1:] != regime[:-1]) + 1
    return found


def gaps(times_ms: Times, open_ms: Times, missing: NDArray[np.int64], candle_ms: int) -> Gaps:
    """`open_ms` are the times less closed hours; `missing` is how many candles are missing among
    those that each state was calculated from: where it grows, there is a gap, also between states
    that are many candles apart. After one that is too long, a window starts over without it.
    """
    steps_ms = np.diff(open_ms)
    is_long = breaks(open_ms)
    usual_ms = np.median(steps_ms) if len(steps_ms) else 0
    skipped = np.rint((steps_ms - usual_ms) / candle_ms) * is_long
    candles = np.maximum(np.diff(missing), skipped).astype(np.int64)
    (before,) = np.nonzero(candles > 0)
    return Gaps(times_ms[before], times_ms[before + 1], candles[before])


def breaks(open_ms: Times) -> NDArray[np.bool_]:
    """Between which two rows a line breaks."""
    steps_ms = np.diff(open_ms)
    usual_ms = np.median(steps_ms) if len(steps_ms) else 0
    found: NDArray[np.bool_] = steps_ms > _BREAK_IN_STEPS * usual_ms
    return found
