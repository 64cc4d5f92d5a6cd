"""The state of one window as people write it with numpy and scipy, for the peers of a worker.

It agrees with `core` to a relative 1e-9.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import theilslopes

from marketstate.core.theta import Theta


def state_by_scipy(prices: NDArray[np.float64], theta: Theta) -> dict[str, float]:
    """The state, with the names that its numbers have in the published hash."""
    eps, trend, regime = theta["eps"], theta["trend"], theta["regime"]
    log_prices = np.log(prices + eps)
    returns = np.diff(log_prices)
    sigma, spike_proxy = _sigma(returns[-theta["vol"]["window"] :], theta)
    shares = np.array(trend["weights"]) / np.sum(trend["weights"])
    slopes = [theilslopes(log_prices[-n:], np.arange(n)).slope for n in trend["windows"]]
    mu = float(np.dot(shares, slopes))
    ts = abs(mu) / (sigma + eps)

    x, k = returns[-regime["window"] :], regime["vr_k"]
    signs = np.sign(x)
    dp = float(np.mean(signs[1:] == signs[:-1]))
    sums = np.array([np.sum(x[i : i + k]) for i in range(len(x) - k + 1)])
    vr = float(np.var(sums) / (k * np.var(x) + eps))

    weigh = regime["score"]
    off_walk = abs(vr - 1)
    scores = [
        weigh["a1"] * ts + weigh["a2"] * dp - weigh["a3"] * off_walk,
        weigh["b1"] * off_walk - weigh["b2"] * ts - weigh["b3"] * abs(dp),
        weigh["c1"] * (1 - abs(dp)) + weigh["c2"] * (1 - min(ts, 1)) - weigh["c3"] * off_walk,
    ]
    p_trend, p_mr, p_chop = softmax(np.array(scores) / regime["softmax_temp"]).tolist()
    return {
        "sigma": sigma,
        "mu": mu,
        "ts": ts,
        "p_trend": p_trend,
        "p_mr": p_mr,
        "p_chop": p_chop,
        "dp": dp,
        "vr": vr,
        "spike_proxy": spike_proxy,
    }


def _sigma(x: NDArray[np.float64], theta: Theta) -> tuple[float, float]:
    vol: Any = theta["vol"]
    low, high = np.quantile(x, vol["winsor_q_low"]), np.quantile(x, vol["winsor_q_high"])
    x = np.clip(x, low, high)
    variance = np.var(x[:10])
    for value in x:
        variance = vol["ewma_lambda"] * variance + (1 - vol["ewma_lambda"]) * value**2
    fast = np.sqrt(variance)
    robust = 1.4826 * np.median(np.abs(x - np.median(x)))
    spike_proxy = np.clip(robust / (fast + theta["eps"]), 0, vol["spike_proxy_cap"])
    weight = expit((spike_proxy - vol["spike_center"]) / vol["spike_scale"])
    sigma = max(vol["sigma_floor"], (1 - weight) * fast + weight * robust)
    return float(sigma), float(spike_proxy)
