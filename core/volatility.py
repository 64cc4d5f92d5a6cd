"""sigma: a blend of a fast and a robust volatility of winsorised log returns."""

import math

import numpy as np
from numpy.typing import NDArray

from marketstate.core.theta import VolTheta

# The MAD of a normal sample times 1 / Phi^-1(3/4) = 1.48260... estimates its standard
# deviation; the specification locks the four-decimal value.
MAD_TO_SIGMA = 1.4826
# How many returns initialise the EWMA, and the bound that keeps exp() from overflowing.
EWMA_START_N = 10
LOGISTIC_BOUND = 50.0


def volatility(
    returns: NDArray[np.float64], theta: VolTheta, eps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sigma and the spike proxy of each row of log returns.

    The robust estimate gets more weight the more it exceeds the fast one.

    Parameters
    ----------
    returns : ndarray of shape (S, n), C-contiguous rows
        Log returns [1], oldest first; the last ``theta["window"]`` are used.
    theta : VolTheta
    eps : float
        Guards the division.

    Returns
    -------
    sigma : ndarray of shape (S,)
        Volatility per interval [1], at least ``theta["sigma_floor"]``.
    spike_proxy : ndarray of shape (S,)
        Robust over fast volatility [1], from 0 to ``theta["spike_proxy_cap"]``.
    """
    x = winsorised(returns[:, -theta["window"] :], theta["winsor_q_low"], theta["winsor_q_high"])
    fast = ewma_sigma(x, theta["ewma_lambda"])
    robust = mad_sigma(x)
    spike_proxy = np.clip(robust / (fast + eps), 0.0, theta["spike_proxy_cap"])
    # math.exp, row by row: a row must give the same bits alone and in a batch, and whether np.exp
    # treats a one-element array like a longer one depends on numpy's build and the processor.
    weight = np.array(
        [logistic((p - theta["spike_center"]) / theta["spike_scale"]) for p in spike_proxy.tolist()]
    )
    blend = (1.0 - weight) * fast + weight * robust
    return np.maximum(theta["sigma_floor"], blend), spike_proxy


def winsorised(x: NDArray[np.float64], q_low: float, q_high: float) -> NDArray[np.float64]:
    """Return each row of `x`, shape (S, n), clipped to its own two quantiles.

    Quantiles are linearly interpolated: definition 7 of Hyndman & Fan, "Sample quantiles in
    statistical packages", The American Statistician 50(4), 1996.
    """
    ranked = np.sort(x, axis=-1)
    low, high = _quantile(ranked, q_low), _quantile(ranked, q_high)
    return np.clip(x, low[:, np.newaxis], high[:, np.newaxis])


def _quantile(ranked: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    """Return ``np.quantile(ranked, q, axis=-1)``, ten times faster because rows are sorted."""
    position = q * (ranked.shape[-1] - 1)
    below = math.floor(position)
    part = position - below
    lower, upper = ranked[:, below], ranked[:, math.ceil(position)]
    step = upper - lower
    quantile: NDArray[np.float64] = (
        lower + step * part if part < 0.5 else upper - step * (1.0 - part)
    )
    return quantile


def ewma_sigma(x: NDArray[np.float64], lam: float) -> NDArray[np.float64]:
    """Return the exponentially weighted volatility [1], shape (S,), of rows `x`, shape (S, n).

    ``v = lam * v + (1 - lam) * x_i**2``, starting from the population variance of the first 10
    values: RiskMetrics Technical Document, J.P. Morgan/Reuters, 4th ed., 1996, section 5.2.
    """
    starts = np.var(x[:, :EWMA_START_N], axis=-1)
    squares = (x * x).tolist()
    ends = [_ewma(*row, lam) for row in zip(starts.tolist(), squares, strict=True)]
    return np.sqrt(ends)


def _ewma(start: float, squares: list[float], lam: float) -> float:
    v = start
    for square in squares:
        v = lam * v + (1.0 - lam) * square
    return v


def mad_sigma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scaled median absolute deviation [1], shape (S,), of rows `x`, shape (S, n).

    Rousseeuw & Croux, "Alternatives to the median absolute deviation", Journal of the American
    Statistical Association 88(424), 1993.
    """
    deviations = np.abs(x - _median(np.sort(x, axis=-1))[:, np.newaxis])
    return MAD_TO_SIGMA * _median(np.sort(deviations, axis=-1))


def _median(ranked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``np.median(ranked, axis=-1)`` of sorted rows.

    Sorting and this together take a quarter of the time of ``np.median``.
    """
    n = ranked.shape[-1]
    middle: NDArray[np.float64] = (ranked[:, (n - 1) // 2] + ranked[:, n // 2]) / 2.0
    return middle


def logistic(z: float) -> float:
    """Return 1 / (1 + exp(-z)) [1], with z clipped to -50..50."""
    return 1.0 / (1.0 + math.exp(-min(max(z, -LOGISTIC_BOUND), LOGISTIC_BOUND)))
