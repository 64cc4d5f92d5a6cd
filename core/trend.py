"""mu: the weighted sum of the slopes of the log price over several windows."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from marketstate.core.theil_sen import theil_sen_slopes
from marketstate.core.theta import TrendTheta

HUBER_DELTA = 1.35


def trend(log_prices: NDArray[np.float64], theta: TrendTheta) -> NDArray[np.float64]:
    """Return the drift mu of each row of log prices.

    Parameters
    ----------
    log_prices : ndarray of shape (S, n), C-contiguous rows
        Natural logarithms of prices, oldest first; n at least the longest trend window.
    theta : TrendTheta

    Returns
    -------
    ndarray of shape (S,)
        Log price change per interval [1].
    """
    slopes = SLOPES[theta["method"]]
    total = math.fsum(theta["weights"])
    mu = np.zeros(len(log_prices))
    for window, weight in zip(theta["windows"], theta["weights"], strict=True):
        mu += (weight / total) * slopes(log_prices[:, -window:])
    return mu


def ols_slope(y: NDArray[np.float64]) -> float:
    """Return the least-squares slope [y per step] of `y`, shape (n,), n >= 2, at 0, 1, ..., n-1.

    Legendre, "Nouvelles méthodes pour la détermination des orbites des comètes", 1805.
    """
    t = _centred_steps(y.size)
    return float(np.sum(t * (y - np.mean(y))) / np.sum(t * t))


def huber_slope(y: NDArray[np.float64]) -> float:
    """Return the slope of the line with the least Huber loss of its residuals.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Values at 0, 1, ..., n-1; n >= 2.

    Returns
    -------
    float
        Slope [y per step], found by Nelder-Mead from the least-squares line.

    References
    ----------
    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35(1),
    1964. Nelder & Mead, "A simplex method for function minimization", Computer Journal 7(4), 1965.
    """
    t = _centred_steps(y.size)
    start = np.array([ols_slope(y), np.mean(y)])
    if np.all(np.abs(y - (start[0] * t + start[1])) <= HUBER_DELTA):
        # The loss is quadratic at all residuals, so the least-squares line minimises it.
        return float(start[0])

    # Not at the top: scipy.optimize takes about 40 MB, which only huber needs.
    from scipy.optimize import minimize  # noqa: PLC0415

    def loss(line: NDArray[np.float64]) -> float:
        size = np.abs(y - (line[0] * t + line[1]))
        linear = HUBER_DELTA * (size - 0.5 * HUBER_DELTA)
        return float(np.sum(np.where(size <= HUBER_DELTA, 0.5 * size * size, linear)))

    # The default tolerances (1e-4) stop far from the minimum: a slope per candle is tiny.
    found = minimize(
        loss,
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-12, "fatol": 1e-12, "maxiter": 2000, "maxfev": 4000},
    )
    return float(found.x[0])


def _centred_steps(n: int) -> NDArray[np.float64]:
    return np.arange(n, dtype=np.float64) - (n - 1) / 2.0


def _row_by_row(
    slope: Callable[[NDArray[np.float64]], float],
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda rows: np.array([slope(row) for row in rows])


SLOPES = {
    "theil_sen": theil_sen_slopes,
    "ols": _row_by_row(ols_slope),
    "huber": _row_by_row(huber_slope),
}
