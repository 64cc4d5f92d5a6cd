"""The market state of one window of prices, or of many at once.

There is one calculation, for a batch; a single window is a batch of one. The state has the same
bits either way, and the same bits from the compiled kernel and from numpy.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marketstate.core import by_numpy, kernel
from marketstate.core.kernel import NAMES
from marketstate.core.regime import RegimeProbs
from marketstate.core.theta import DEFAULT_THETA, Theta, merged_theta, minimum_length
from marketstate.core.trend import trend

__all__ = ["DEFAULT_THETA", "NAMES", "MarketState", "State", "market_states"]


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
        return self._states(_array(prices, 1, f"prices of {symbol}"), f"prices of {symbol}")[0]

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
        return self._states(_array(windows, 2, "windows"), "windows")

    def rows(self, windows: ArrayLike) -> NDArray[np.float64] | None:
        """Return the numbers of the state of each of S windows, without dicts around them.

        Parameters
        ----------
        windows : array_like of shape (S, N)
            As `get_states` takes them.

        Returns
        -------
        ndarray of shape (S, 9), or None
            A row per window, a column for each of `NAMES`; None when there are fewer than
            `minimum_length` prices.

        Raises
        ------
        ValueError
            As `get_states`.
        """
        return self._rows(_array(windows, 2, "windows"), "windows")

    @cached_property
    def _parameters(self) -> kernel.Parameters:
        return kernel.parameters(self.theta)

    def _rows(self, values: NDArray[np.float64], name: str) -> NDArray[np.float64] | None:
        windows = values if values.ndim == 2 else values[np.newaxis]
        is_long = windows.shape[1] >= self._parameters.prices
        if is_long and kernel.is_compiled() and self._parameters.trends > 0:
            rows = kernel.state_rows(windows, self._parameters)
            if rows is not None:
                return rows
        _refuse_bad_prices(values, name)
        if not is_long:
            return None
        prices = windows[:, -self._parameters.prices :]
        if not kernel.is_compiled():
            return by_numpy.state_rows(prices, self.theta)
        mu = trend(kernel.logs(prices + self.theta["eps"]), self.theta["trend"])
        return kernel.state_rows(windows, self._parameters, mu)

    def _states(self, values: NDArray[np.float64], name: str) -> list[State | None]:
        rows = self._rows(values, name)
        if rows is None:
            return [None] * (1 if values.ndim == 1 else len(values))
        # tolist() gives plain Python floats, so that numpy scalars stay inside this package.
        returns_n = values.shape[-1] - 1
        return [_state(row, returns_n, self.theta) for row in rows.tolist()]


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


def _state(numbers: list[float], returns_n: int, theta: Theta) -> State:
    sigma, mu, ts, p_trend, p_mr, p_chop, dp, vr, spike_proxy = numbers
    return {
        "sigma": sigma,
        "mu": mu,
        "ts": ts,
        "regime_probs": {"trend": p_trend, "mr": p_mr, "chop": p_chop},
        "features": {"dp": dp, "vr": vr, "spike_proxy": spike_proxy},
        "windows": {
            "returns_n": returns_n,
            "trend_windows": list(theta["trend"]["windows"]),
            "regime_window": theta["regime"]["window"],
        },
        "ts_components": {"mu_abs": abs(mu), "sigma_used": sigma},
    }


def _array(prices: ArrayLike, ndim: int, name: str) -> NDArray[np.float64]:
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
    return np.ascontiguousarray(found, dtype=np.float64)


def _refuse_bad_prices(values: NDArray[np.float64], name: str) -> None:
    good = (values > 0.0) & (values < np.inf)
    if not good.all():
        index = tuple(int(axis[0]) for axis in np.nonzero(~good))
        where = index[0] if values.ndim == 1 else index
        raise ValueError(
            f"{name}: found {values[index]!s} at index {where}; "
            "every price must be finite and above 0"
        )
