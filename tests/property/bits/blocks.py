"""Blocks of windows of one kind, with parameters for their states. Equal seeds, equal blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator

from marketstate.core.theta import merged_theta, minimum_length
from tests.property.bits.kinds import Floats, drawn

ROWS: Final = 512
PRICES: Final = 300 * ROWS
"""In a block, at most: longer windows are fewer."""
LONGEST: Final = 2_048


@dataclass(frozen=True)
class Block:
    number: int
    about: str
    theta: dict[str, Any]
    """Overrides of the defaults."""
    windows: Floats


def blocks(seed: int, windows: int) -> Iterator[Block]:
    """Blocks with so many windows together."""
    number = 0
    while windows > 0:
        made = block(seed, number)
        yield made if len(made.windows) <= windows else first_rows(made, windows)
        windows -= len(made.windows)
        number += 1


def block(seed: int, number: int) -> Block:
    rng = np.random.default_rng([seed, number])
    theta = _theta(rng)
    n = minimum_length(merged_theta(theta)) + int(rng.integers(44))
    rows = min(ROWS, PRICES // n + 1)
    if rng.random() < 0.2:
        # As a worker has them: each window is the one before, one close later.
        name, prices = drawn(rng, 1, n + rows - 1)
        about, windows = f"{name}, sliding", sliding_window_view(prices[0], n)
    else:
        about, windows = drawn(rng, rows, n)
    return Block(number, about, theta, np.ascontiguousarray(windows))


def first_rows(made: Block, rows: int) -> Block:
    return Block(made.number, made.about, made.theta, made.windows[:rows])


def _theta(rng: Generator) -> dict[str, Any]:
    """Mostly the defaults, sometimes short windows, seldom long ones."""
    which = rng.random()
    if which < 0.8:
        return {}
    if which < 0.85:
        return {"eps": 10.0 ** rng.uniform(-100, 3)}
    longest = int(rng.integers(2, 280)) if which < 0.97 else LONGEST
    return _other_theta(rng, longest)


def _other_theta(rng: Generator, longest: int) -> dict[str, Any]:
    trends = rng.integers(2, longest + 1, rng.integers(1, 5))
    if longest == LONGEST and rng.random() < 0.3:
        trends[0] = rng.integers(LONGEST - 1, LONGEST + 2)
    regime = int(rng.integers(2, longest + 1))
    return {
        "eps": 1e-12 if rng.random() < 0.8 else 10.0 ** rng.uniform(-100, 3),
        "vol": {
            "window": int(rng.integers(1, longest + 1)),
            "winsor_q_low": float(rng.choice([0.0, 0.01, rng.uniform(0, 0.45)])),
            "winsor_q_high": float(rng.choice([1.0, 0.99, rng.uniform(0.55, 1.0)])),
            "ewma_lambda": rng.uniform(0.01, 0.99),
            "spike_scale": 10.0 ** rng.uniform(-3, 1),
        },
        "trend": {"windows": trends.tolist(), "weights": rng.uniform(0.1, 1, len(trends)).tolist()},
        "regime": {
            "window": regime,
            "vr_k": int(rng.integers(1, min(regime, 40) + 1)),
            "softmax_temp": 10.0 ** rng.uniform(-1, 1),
        },
    }
