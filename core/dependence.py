"""dp and vr: how much the next return depends on the ones before it."""

import numpy as np
from numpy.typing import NDArray


def direction_persistence(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of adjacent returns with equal sign; zero counts as a third sign.

    The sign-agreement count of Cowles & Jones, "Some a posteriori probabilities in stock market
    action", Econometrica 5(3), 1937, as a fraction.

    Parameters
    ----------
    returns : ndarray of shape (S, n)
        Log returns [1], oldest first; n >= 2.

    Returns
    -------
    ndarray of shape (S,)
        dp [1], from 0 to 1.
    """
    signs = np.sign(returns)
    equal = np.count_nonzero(signs[:, 1:] == signs[:, :-1], axis=-1)
    dp: NDArray[np.float64] = equal / (returns.shape[-1] - 1)
    return dp


def variance_ratio(returns: NDArray[np.float64], k: int, eps: float) -> NDArray[np.float64]:
    """Return the variance of overlapping k-sums over k times the variance of the returns.

    Near 1 for a random walk, above 1 for trends, below 1 for mean reversion. Lo & MacKinlay,
    "Stock market prices do not follow random walks", Review of Financial Studies 1(1), 1988; here
    with population variances and no bias correction.

    Parameters
    ----------
    returns : ndarray of shape (S, n), C-contiguous rows
        Log returns [1], oldest first; n >= k.
    k : int
        Number of returns in each sum [1].
    eps : float
        Guards the division.

    Returns
    -------
    ndarray of shape (S,)
        vr [1], >= 0; 0 where the returns do not vary, 1 where n = k, which is a single sum.
    """
    sums_n = returns.shape[-1] - k + 1
    if sums_n < 2:
        return np.ones(len(returns))
    sums = returns[:, :sums_n].copy()
    # Slice by slice, so that every k-sum is added oldest first for any batch shape.
    for lag in range(1, k):
        sums += returns[:, lag : lag + sums_n]
    ratio: NDArray[np.float64] = np.var(sums, axis=-1) / (k * np.var(returns, axis=-1) + eps)
    return ratio
