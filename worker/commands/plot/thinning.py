"""The rows that a line needs so that it looks as if it had all of them.

In each column of pixels these are the first and last one, the lowest and the highest.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def rows_to_draw(places: Numbers, columns: int, *lines: Numbers) -> NDArray[np.int64]:
    """For lines over the same `places`, which increase; NaN, where lines break, is kept."""
    if len(places) <= 2 * columns:
        return np.arange(len(places))
    scale = columns / (places[-1] - places[0])
    column = np.minimum((places - places[0]) * scale, columns - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(starts[1:], len(places)) - 1
    kept = np.zeros(len(places), np.bool_)
    kept[starts] = kept[ends] = True
    for values in lines:
        kept |= np.isnan(values)
        # By column, then by value: NaN comes last, so it never is the lowest.
        by_value = np.lexsort((values, column))
        kept[by_value[starts]] = True
        by_value = np.lexsort((np.nan_to_num(values, nan=-np.inf), column))
        kept[by_value[ends]] = True
    return np.flatnonzero(kept)
