"""The Theil-Sen slope: the exact median of the slopes between all pairs of points."""

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from marketstate.core import kernel

# Above this many slopes, sampling them is faster.
MANY = 4_000
SAMPLE = 500


def theil_sen_slopes(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of the slopes between all pairs of points, for each row.

    Exact: the same doubles as ``scipy.stats.theilslopes(row).slope``.

    Parameters
    ----------
    y : ndarray of shape (S, n), C-contiguous rows
        Values at 0, 1, ..., n-1, finite; n >= 2.

    Returns
    -------
    ndarray of shape (S,)
        Slopes [y per step]; for an even number of pairs, the mean of the two middle slopes.

    References
    ----------
    Theil, "A rank-invariant method of linear and polynomial regression analysis", Proc. Kon. Ned.
    Akad. v. Wetensch. A 53, 1950. Sen, "Estimates of the regression coefficient based on
    Kendall's tau", Journal of the American Statistical Association 63(324), 1968.
    """
    if kernel.is_compiled():
        return kernel.median_slopes(y)[0]
    return np.array([median_of_all_slopes(row) for row in y])


def median_of_all_slopes(y: NDArray[np.float64]) -> float:
    """Return the median slope of one row, shape (n,), after calculating all slopes."""
    slopes = _all_slopes(y)
    first, second = (slopes.size - 1) // 2, slopes.size // 2
    if slopes.size > MANY:
        # Selecting among all slopes would take most of the time; on some processors nearly all.
        sample = np.sort(slopes[:: slopes.size // SAMPLE])
        low, high = sample[[int(sample.size * 0.4), int(sample.size * 0.6)]]
        below = int(np.count_nonzero(slopes < low))
        around = slopes[(slopes >= low) & (slopes <= high)]
        if below <= first and second < below + around.size:
            slopes, first, second = around, first - below, second - below
    # One index and the minimum of the rest: numpy is slower at partitioning by two.
    slopes.partition(first)
    lower = float(slopes[first])
    if first == second:
        return lower
    return (lower + float(slopes[second:].min())) / 2.0


def _all_slopes(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slopes of all pairs, shape (n * (n - 1) / 2,), in arbitrary order.

    The points are placed on a circle: the row of lag s holds the pairs s steps apart and, where it
    wraps around, those n - s apart, so half of the lags cover every pair. For even n, the last lag
    holds each of its pairs twice; the second half is cut off.
    """
    n = y.size
    later = sliding_window_view(np.concatenate((y, y)), n)[1 : n // 2 + 1]
    slopes = (later - y) / _steps(n)
    slopes += 0.0  # a pair that wraps around gives -0.0 for equal points
    return slopes.reshape(-1)[: n * (n - 1) // 2]


@lru_cache(maxsize=8)
def _steps(n: int) -> NDArray[np.float64]:
    """Return the steps [1] from each point to the one `lag` places further round the circle."""
    lags = np.arange(1, n // 2 + 1)[:, np.newaxis]
    return np.where(np.arange(n) + lags < n, lags, lags - n).astype(np.float64)
