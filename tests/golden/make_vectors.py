"""Make vectors.json: windows and their states from the oracle.

Run it from the root of the repository: python -m tests.golden.make_vectors
"""

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.oracle import oracle_state

PRICES_N = 260
# Written out, not imported: the vectors must detect a changed default in core.
THETA: dict[str, Any] = {
    "eps": 1e-12,
    "vol": {
        "window": 256,
        "winsor_q_low": 0.01,
        "winsor_q_high": 0.99,
        "ewma_lambda": 0.94,
        "sigma_floor": 1e-6,
        "spike_proxy_cap": 5.0,
        "spike_center": 1.2,
        "spike_scale": 0.3,
    },
    "trend": {"windows": [64, 128, 256], "weights": [0.5, 0.3, 0.2], "method": "theil_sen"},
    "regime": {
        "window": 256,
        "vr_k": 5,
        "softmax_temp": 1.0,
        "score": {f"{term}{i}": 1.0 for term in "abc" for i in (1, 2, 3)},
    },
}
Step = Callable[[int, float], float]


def walk(rng: random.Random, start: float, digits: int, step: Step) -> list[float]:
    """Return rounded prices; `step` gives the next log return from the index and the last one."""
    last, price, prices = 0.0, start, []
    for index in range(PRICES_N):
        last = step(index, rng.gauss(0.0, 1.0)) if index else 0.0
        price *= math.exp(last)
        prices.append(round(price, digits))
    return prices


def windows(rng: random.Random) -> dict[str, tuple[dict[str, Any], list[float]]]:
    """Return overrides of theta and prices, by the name of the case."""
    plain = walk(rng, 100.0, 4, lambda _, z: 0.002 * z)
    return {
        "random_walk": ({}, plain),
        "trend": ({}, walk(rng, 50.0, 4, lambda _, z: 0.001 + 0.002 * z)),
        "mean_reverting": ({}, [round(100 * math.exp(rng.gauss(0, 0.004)), 3) for _ in plain]),
        "ticks_with_ties": ({}, walk(rng, 1.0, 3, lambda _, z: 0.0005 * z)),
        "tiny_price": ({}, walk(rng, 2e-5, 8, lambda _, z: 0.003 * z)),
        "burst": ({}, walk(rng, 9000.0, 1, lambda i, z: (0.02 if i > 240 else 0.001) * z)),
        "jump": ({}, walk(rng, 10.0, 4, lambda i, z: 0.3 if i == 200 else 0.002 * z)),
        "stale_then_moving": ({}, walk(rng, 10.0, 3, lambda i, z: 0.003 * z * (i > 150))),
        "flat": ({}, [42.0] * PRICES_N),
        "small_windows": (
            {
                "vol": {"window": 40, "ewma_lambda": 0.8, "winsor_q_high": 0.9},
                "trend": {"windows": [7, 30], "weights": [3.0, 1.0]},
                "regime": {"window": 50, "vr_k": 3, "softmax_temp": 0.5},
            },
            plain,
        ),
        "least_squares": ({"trend": {"method": "ols"}}, plain),
        "huber_over_a_tenfold_jump": (
            {"trend": {"method": "huber", "windows": [60], "weights": [1.0]}},
            walk(rng, 10.0, 4, lambda i, z: 3.0 if i == 250 else 0.01 * z),
        ),
    }


def merged(into: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `into` with `overrides` applied at every level."""
    result = copy.deepcopy(into)
    for name, value in overrides.items():
        result[name] = merged(result[name], value) if isinstance(value, dict) else value
    return result


def main() -> None:
    """Write vectors.json next to this file."""
    vectors = [
        {
            "name": name,
            "theta": overrides,
            "prices": prices,
            "state": oracle_state(prices, merged(THETA, overrides)),
        }
        for name, (overrides, prices) in windows(random.Random(20240501)).items()
    ]
    lines = ",\n".join(json.dumps(vector) for vector in vectors)
    Path(__file__).with_name("vectors.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
