"""Invented prices that trend, revert to a mean, or do neither, for stretches of time; and walks."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marketstate.schemas.candle import Candle
from tests.support.candles import candle

Floats = NDArray[np.float64]

_SIGMA: Final = 0.0005
_STRETCH: Final = 1_500
# Of a candle, in sigma.
_DRIFT: Final = 0.2
# How much of a move the next one takes back.
_TAKEN_BACK: Final = 0.6


def regime_walk(count: int, seed: int) -> Floats:
    """Log returns: stretches of trend, mean reversion and chop follow each other at random."""
    random = np.random.RandomState(seed)
    returns = random.standard_normal(count) * _SIGMA
    for start in range(0, count, _STRETCH):
        stretch = returns[start : start + _STRETCH]
        kind = random.randint(3)
        if kind == 0:
            stretch += random.choice([-1, 1]) * _DRIFT * _SIGMA
        elif kind == 1:
            stretch[1:] -= _TAKEN_BACK * stretch[:-1].copy()
    return returns


def random_walk(count: int, seed: int) -> Floats:
    """Log returns, independent of each other."""
    return np.random.RandomState(seed).standard_normal(count) * _SIGMA


def candles_of(returns: Mapping[str, Floats]) -> list[Candle]:
    """1-minute candles whose closes have these log returns, by symbol."""
    return [
        candle(symbol, number, close)
        for symbol, moves in returns.items()
        for number, close in enumerate((100 * np.exp(np.cumsum(moves))).tolist())
    ]
