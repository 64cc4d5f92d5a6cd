"""What followed a state, as one of the three regimes: decided by later closes alone.

In words, of the N returns after a state:

- `trend`: their sum, the net move, is larger against their realised volatility than that of four
  random walks in five.
- `mr`, if not: their variance ratio is lower than that of four random walks in five.
- `chop`, if neither.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.stats import beta

from marketstate.core.dependence import variance_ratio
from marketstate.core.theta import Theta
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.commands.regime_words import REGIMES

Floats = NDArray[np.float64]

TREND, MR, CHOP = range(len(REGIMES))
UNKNOWN: Final = -1
"""Too few closes followed, or candles are missing among them."""
ONE_IN: Final = 5

_WALKS: Final = 10_000
# Returns that are looked at together: 8 MB, and a few times as much for what is made of them.
_AT_A_TIME: Final = 1_000_000


class Bounds(NamedTuple):
    """What one random walk in ONE_IN reaches over `ahead` returns."""

    ahead: int
    net_move: float
    """In realised volatilities, the root of the sum of squared returns."""
    variance_ratio: float

    def in_words(self) -> str:
        return (
            f"of the {self.ahead} candles after a state: trend if the net move is above "
            f"{self.net_move:.2f} times their realised volatility; otherwise mr if their variance "
            f"ratio is below {self.variance_ratio:.2f}; otherwise chop. One random walk in "
            f"{ONE_IN} passes each bound"
        )


@lru_cache(maxsize=1)
def bounds(ahead: int, k: int, eps: float) -> Bounds:
    # For normal returns, (net move / realised volatility)^2 / n has this distribution.
    share = beta.ppf(1 - 1 / ONE_IN, 0.5, (ahead - 1) / 2)
    random = np.random.RandomState(0)
    rows = max(1, _AT_A_TIME // ahead)
    ratios = [
        variance_ratio(random.standard_normal((min(rows, _WALKS - start), ahead)), k, eps)
        for start in range(0, _WALKS, rows)
    ]
    ratio = np.quantile(np.concatenate(ratios), 1 / ONE_IN)
    return Bounds(ahead, float(np.sqrt(ahead * share)), float(ratio))


def what_followed(series: Series, ahead: int, theta: Theta) -> NDArray[np.int64]:
    """For each state the place in REGIMES of what followed it, or UNKNOWN."""
    k, eps = theta["regime"]["vr_k"], theta["eps"]
    limits = bounds(ahead, k, eps)
    found = np.full(len(series.times_ms), UNKNOWN)
    if len(found) <= ahead:
        return found
    returns = np.diff(np.log(series.numbers["close"]))
    windows = sliding_window_view(returns, ahead)
    rows = max(1, _AT_A_TIME // ahead)
    for start in range(0, len(windows), rows):
        some = np.ascontiguousarray(windows[start : start + rows])
        realised = np.sqrt(np.square(some).sum(axis=1))
        is_trend = np.abs(some.sum(axis=1)) > limits.net_move * realised
        is_low = variance_ratio(some, k, eps) < limits.variance_ratio
        is_mr = ~is_trend & is_low & (realised > 0)
        found[start : start + len(some)] = np.where(is_trend, TREND, np.where(is_mr, MR, CHOP))
    open_ms = series.closed.left_out(series.times_ms)
    took_ms = open_ms[ahead:] - open_ms[:-ahead]
    found[:-ahead][2 * took_ms > (2 * ahead + 1) * series.step_ms] = UNKNOWN
    return found
