"""The specification, literally: slow twins of every estimator in `core`.

It uses floats, lists and loops, and shares no code with `core`. It exists only for comparison.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import minimize

Theta = dict[str, Any]


def oracle_state(prices: Sequence[float], theta: Theta) -> dict[str, Any] | None:
    """Return what `get_state` must return for `prices` under a complete, nested `theta`."""
    eps, vol, trend, regime = theta["eps"], theta["vol"], theta["trend"], theta["regime"]
    if len(prices) < max(vol["window"], *trend["windows"], regime["window"]) + 1:
        return None
    lp = [math.log(float(price) + eps) for price in prices]
    r = [after - before for before, after in pairwise(lp)]
    sigma, spike_proxy = sigma_and_spike_proxy(r[-vol["window"] :], vol, eps)
    mu = weighted_slope(lp, trend)
    ts = abs(mu) / (sigma + eps)
    x = r[-regime["window"] :]
    dp = persistence(x)
    vr = k_sum_variance_ratio(x, regime["vr_k"], eps)
    return {
        "sigma": sigma,
        "mu": mu,
        "ts": ts,
        "regime_probs": regime_probs(ts, dp, vr, regime),
        "features": {"dp": dp, "vr": vr, "spike_proxy": spike_proxy},
        "windows": {
            "returns_n": len(r),
            "trend_windows": list(trend["windows"]),
            "regime_window": regime["window"],
        },
        "ts_components": {"mu_abs": abs(mu), "sigma_used": sigma},
    }


def mean(x: Sequence[float]) -> float:
    """Return the mean."""
    return math.fsum(x) / len(x)


def variance(x: Sequence[float]) -> float:
    """Return the population variance."""
    center = mean(x)
    return math.fsum((value - center) ** 2 for value in x) / len(x)


def median(x: Sequence[float]) -> float:
    """Return the median."""
    return quantile(x, 0.5)


def quantile(x: Sequence[float], q: float) -> float:
    """Return the linearly interpolated quantile."""
    ranked = sorted(x)
    position = q * (len(ranked) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (position - below) * (ranked[above] - ranked[below])


def sigma_and_spike_proxy(x: Sequence[float], vol: Theta, eps: float) -> tuple[float, float]:
    """Return sigma and spike_proxy from the returns of the volatility window."""
    low, high = quantile(x, vol["winsor_q_low"]), quantile(x, vol["winsor_q_high"])
    x_w = [min(max(value, low), high) for value in x]
    v = variance(x_w[:10])
    for value in x_w:
        v = vol["ewma_lambda"] * v + (1 - vol["ewma_lambda"]) * value**2
    sigma_ewma = math.sqrt(v)
    center = median(x_w)
    sigma_mad = 1.4826 * median([abs(value - center) for value in x_w])
    spike_proxy = min(max(sigma_mad / (sigma_ewma + eps), 0), vol["spike_proxy_cap"])
    z = (spike_proxy - vol["spike_center"]) / vol["spike_scale"]
    w = 1 / (1 + math.exp(-min(max(z, -50), 50)))
    return max(vol["sigma_floor"], (1 - w) * sigma_ewma + w * sigma_mad), spike_proxy


def weighted_slope(lp: Sequence[float], trend: Theta) -> float:
    """Return mu from the log prices."""
    slope: Callable[[Sequence[float]], float] = {
        "theil_sen": theil_sen,
        "ols": least_squares,
        "huber": huber,
    }[trend["method"]]
    pairs = list(zip(trend["windows"], trend["weights"], strict=True))
    return math.fsum(weight * slope(lp[-n:]) for n, weight in pairs) / sum(trend["weights"])


def theil_sen(y: Sequence[float]) -> float:
    """Return the median of the pairwise slopes.

    scipy's `theilslopes` gives the same double, but takes four times as long, for its interval of
    confidence.
    """
    values, (i, j) = np.asarray(y), pairs(len(y))
    return float(np.median((values[j] - values[i]) / (j - i)))


@cache
def pairs(n: int) -> Any:
    """Return all i and j with i < j < n."""
    return np.triu_indices(n, 1)


def least_squares(y: Sequence[float]) -> float:
    """Return the least-squares slope."""
    t_mean, y_mean = (len(y) - 1) / 2, mean(y)
    above = math.fsum((t - t_mean) * (value - y_mean) for t, value in enumerate(y))
    return above / math.fsum((t - t_mean) ** 2 for t in range(len(y)))


def huber(y: Sequence[float]) -> float:
    """Return the slope of the line with the least Huber loss."""

    def loss(line: Any) -> float:
        total = []
        for t, value in enumerate(y):
            size = abs(value - line[0] * t - line[1])
            total.append(0.5 * size**2 if size <= 1.35 else 1.35 * (size - 0.5 * 1.35))
        return math.fsum(total)

    slope = least_squares(y)
    line = [slope, mean(y) - slope * (len(y) - 1) / 2]
    found = minimize(
        loss,
        line,
        method="Nelder-Mead",
        options={"xatol": 1e-11, "fatol": 1e-13, "maxiter": 5000, "maxfev": 10000},
    )
    return float(found.x[0])


def sign(value: float) -> int:
    """Return -1, 0 or 1."""
    return (value > 0) - (value < 0)


def persistence(x: Sequence[float]) -> float:
    """Return dp: the fraction of adjacent returns with equal sign."""
    equal = [sign(before) == sign(after) for before, after in pairwise(x)]
    return sum(equal) / len(equal)


def k_sum_variance_ratio(x: Sequence[float], k: int, eps: float) -> float:
    """Return vr."""
    if len(x) < k + 1:
        return 1.0
    sums = [math.fsum(x[start : start + k]) for start in range(len(x) - k + 1)]
    return variance(sums) / (k * variance(x) + eps)


def regime_probs(ts: float, dp: float, vr: float, regime: Theta) -> dict[str, float]:
    """Return the softmax of the three scores."""
    s = regime["score"]
    scores = {
        "trend": s["a1"] * ts + s["a2"] * dp - s["a3"] * abs(vr - 1),
        "mr": s["b1"] * abs(vr - 1) - s["b2"] * ts - s["b3"] * abs(dp),
        "chop": s["c1"] * (1 - abs(dp)) + s["c2"] * (1 - min(ts, 1)) - s["c3"] * abs(vr - 1),
    }
    best = max(scores.values())
    powers = {name: math.exp((s - best) / regime["softmax_temp"]) for name, s in scores.items()}
    return {name: power / sum(powers.values()) for name, power in powers.items()}
