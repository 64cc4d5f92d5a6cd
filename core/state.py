"""The market state of one window of prices, or of many at once.

There is one implementation, for a batch; a single window is a batch of one. The state has the
same bits either way: every operation is elementwise or reduces along the last, contiguous axis,
so no result depends on how many rows are computed together. Do not use matmul, dot or einsum
here: their order of summation depends on the shape.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core import kernel
from core.dependence import direction_persistence, variance_ratio
from core.regime import RegimeProbs, regime_probabilities
from core.theta import DEFAULT_THETA, Theta, merged_theta, minimum_length
from core.trend import trend
from core.volatility import volatility

__all__ = ["DEFAULT_THETA", "MarketState", "State", "market_states"]

# Rows computed together: enough to amortise numpy's cost per call, few enough to save memory.
ROWS_AT_ONCE = 64


class Features(TypedDict):
    """The features behind the regime [1]."""

    dp: float
    vr: float
    spike_proxy: float


class Windows(TypedDict):
    """Lengths: returns available, prices per trend window, returns for dp and vr."""

    returns_n: int
    trend_windows: list[int]
    regime_window: int


class TsComponents(TypedDict):
    """Numerator and denominator of ts [1 per interval]."""

    mu_abs: float
    sigma_used: float


class State(TypedDict):
    """The market state of one window."""

    sigma: float
    mu: float
    ts: float
    regime_probs: RegimeProbs
    features: Features
    windows: Windows
    ts_components: TsComponents


class MarketState:
    """The calculation with one set of parameters.

    Parameters
    ----------
    theta : mapping, optional
        Overrides of `DEFAULT_THETA`, with the same nesting.

    Attributes
    ----------
    theta : Theta
        The merged parameters.

    Raises
    ------
    ThetaError
        If a parameter is unknown, of the wrong type, or impossible.
    """

    def __init__(self, theta: Mapping[str, Any] | None = None) -> None:
        self.theta: Theta = merged_theta(theta)

    @classmethod
    def of_merged(cls, theta: Theta) -> Self:
        """Return the calculation with a theta that is already merged and checked.

        Parameters
        ----------
        theta : Theta
            From `merged_theta`. It is kept, not copied.
        """
        calculation = cls.__new__(cls)
        calculation.theta = theta
        return calculation

    @property
    def minimum_length(self) -> int:
        """Number of prices [1] below which there is no state."""
        return minimum_length(self.theta)

    def get_state(self, symbol: str, prices: Sequence[float] | NDArray[np.float64]) -> State | None:
        """Return the state of one window.

        Parameters
        ----------
        symbol : str
            Named in errors; not used in the calculation.
        prices : array_like of shape (N,)
            Closes [quote currency], oldest first, each finite and > 0.

        Returns
        -------
        State or None
            None when there are fewer than `minimum_length` prices.

        Raises
        ------
        ValueError
            If `prices` has another shape or an invalid value; says which, and where.
        """
        return self._states(_checked(prices, 1, f"prices of {symbol}")[np.newaxis, :])[0]

    def get_states(self, windows: ArrayLike) -> list[State | None]:
        """Return the state of each of S windows of equal length.

        Parameters
        ----------
        windows : array_like of shape (S, N)
            A row per window: closes [quote currency], oldest first, each finite and > 0.

        Returns
        -------
        list of State, or of None
            One per row; all None when there are fewer than `minimum_length` prices.

        Raises
        ------
        ValueError
            If `windows` has another shape or an invalid value; says which, and where.
        """
        return self._states(_checked(windows, 2, "windows"))

    def _states(self, windows: NDArray[np.float64]) -> list[State | None]:
        rows_n, prices_n = windows.shape
        needed_n = self.minimum_length
        if prices_n < needed_n:
            return [None] * rows_n
        starts = range(0, rows_n, ROWS_AT_ONCE)
        chunks = (windows[start : start + ROWS_AT_ONCE, -needed_n:] for start in starts)
        return [state for chunk in chunks for state in _states_of(chunk, prices_n - 1, self.theta)]


def market_states(windows: ArrayLike, theta: Mapping[str, Any] | None = None) -> list[State | None]:
    """Return the state of each of S windows: ``MarketState(theta).get_states(windows)``.

    Parameters
    ----------
    windows : array_like of shape (S, N)
        A row per window: closes [quote currency], oldest first, each finite and > 0.
    theta : mapping, optional
        Overrides of `DEFAULT_THETA`.

    Returns
    -------
    list of State, or of None
        One per row; all None when the windows are too short.

    Raises
    ------
    ThetaError, ValueError
        As `MarketState` and `MarketState.get_states`.
    """
    return MarketState(theta).get_states(windows)


def _states_of(prices: NDArray[np.float64], returns_n: int, theta: Theta) -> list[State]:
    """Return the states of `prices`, shape (S, minimum length)."""
    eps, regime_window = theta["eps"], theta["regime"]["window"]
    log_prices = kernel.logs(prices + eps)
    returns = np.diff(log_prices, axis=-1)
    regime_returns = returns[:, -regime_window:]
    sigma, spike_proxy = volatility(returns, theta["vol"], eps)
    mu = trend(log_prices, theta["trend"])
    ts = np.abs(mu) / (sigma + eps)
    dp = direction_persistence(regime_returns)
    vr = variance_ratio(regime_returns, theta["regime"]["vr_k"], eps)
    # tolist() gives plain Python floats, so that numpy scalars stay inside this package.
    rows = np.stack((sigma, mu, ts, dp, vr, spike_proxy), axis=-1).tolist()
    return [_state(row, returns_n, theta) for row in rows]


def _state(numbers: list[float], returns_n: int, theta: Theta) -> State:
    sigma, mu, ts, dp, vr, spike_proxy = numbers
    return {
        "sigma": sigma,
        "mu": mu,
        "ts": ts,
        "regime_probs": regime_probabilities(ts, dp, vr, theta["regime"]),
        "features": {"dp": dp, "vr": vr, "spike_proxy": spike_proxy},
        "windows": {
            "returns_n": returns_n,
            "trend_windows": list(theta["trend"]["windows"]),
            "regime_window": theta["regime"]["window"],
        },
        "ts_components": {"mu_abs": abs(mu), "sigma_used": sigma},
    }


def _checked(prices: ArrayLike, ndim: int, name: str) -> NDArray[np.float64]:
    """Return `prices` as a C-contiguous float64 array; errors call them `name`."""
    try:
        found = np.asarray(prices)
    except ValueError as error:  # rows of unequal length
        raise ValueError(f"{name}: {error}") from error
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{name}: found values of type {found.dtype}; give numbers")
    if found.ndim != ndim:
        shape = ("N,", "S, N")[ndim - 1]
        raise ValueError(f"{name}: found an array of shape {found.shape}; give ({shape})")
    values = np.ascontiguousarray(found, dtype=np.float64)
    good = (values > 0.0) & (values < np.inf)
    if not good.all():
        index = tuple(int(axis[0]) for axis in np.nonzero(~good))
        where = index[0] if ndim == 1 else index
        raise ValueError(
            f"{name}: found {values[index]!s} at index {where}; "
            "every price must be finite and above 0"
        )
    return values
