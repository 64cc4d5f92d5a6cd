"""The states of many windows by numpy: the twin of kernel.c, for where it could not be compiled.

A state has the same bits in a batch of any size: every operation is elementwise or reduces along
the last, contiguous axis. Do not use matmul, dot or einsum here: their order of summation depends
on the shape.
"""

import numpy as np
from numpy.typing import NDArray

from marketstate.core import kernel
from marketstate.core.dependence import direction_persistence, variance_ratio
from marketstate.core.regime import regime_scores, softmax
from marketstate.core.theta import Theta
from marketstate.core.trend import trend
from marketstate.core.volatility import volatility

# Rows computed together: enough to amortise numpy's cost per call, few enough to save memory.
ROWS_AT_ONCE = 64


def state_rows(prices: NDArray[np.float64], theta: Theta) -> NDArray[np.float64]:
    """Return a row of `kernel.NAMES` for each row of `prices`, shape (S, minimum length)."""
    out = np.empty((len(prices), len(kernel.NAMES)))
    for start in range(0, len(prices), ROWS_AT_ONCE):
        out[start : start + ROWS_AT_ONCE] = _some_rows(prices[start : start + ROWS_AT_ONCE], theta)
    return out


def _some_rows(prices: NDArray[np.float64], theta: Theta) -> NDArray[np.float64]:
    eps, regime = theta["eps"], theta["regime"]
    log_prices = kernel.logs(prices + eps)
    returns = np.diff(log_prices, axis=-1)
    regime_returns = returns[:, -regime["window"] :]
    sigma, spike_proxy = volatility(returns, theta["vol"], eps)
    mu = trend(log_prices, theta["trend"])
    ts = np.abs(mu) / (sigma + eps)
    dp = direction_persistence(regime_returns)
    vr = variance_ratio(regime_returns, regime["vr_k"], eps)
    probs = [
        softmax(regime_scores(*row, regime["score"]), regime["softmax_temp"])
        for row in zip(ts.tolist(), dp.tolist(), vr.tolist(), strict=True)
    ]
    return np.column_stack((sigma, mu, ts, np.reshape(probs, (-1, 3)), dp, vr, spike_proxy))
