"""Walk-forward folds: each is fitted on the past and judged on what came later.

The states are cut by time into equal parts. A part after the first is judged by weights fitted on
the parts before it, without the states whose following candles reach into it, nor so many candles
more: an embargo as long as what is looked at. So a fold never sees its future.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Places = NDArray[np.bool_]


class Fold(NamedTuple):
    fitted_on: Places
    judged_on: Places


def folds(times_ms: Times, ends_ms: Times, count: int, embargo_ms: int) -> Iterator[Fold]:
    """`times_ms` are the close times of the states, and `ends_ms` those of the last close that was
    looked at for what followed each.
    """
    edges_ms = np.quantile(times_ms, np.arange(1, count + 1) / (count + 1))
    for begin_ms, end_ms in zip(edges_ms, [*edges_ms[1:], np.inf], strict=True):
        fold = Fold(ends_ms + embargo_ms < begin_ms, (times_ms >= begin_ms) & (times_ms < end_ms))
        if fold.fitted_on.any() and fold.judged_on.any():
            yield fold
