"""How good probabilities were: log loss, Brier score and reliability, with intervals over days.

Neighbouring states share most of their closes, and symbols move together. So the intervals come
from drawing whole blocks of days, with all symbols in them, again and again.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketstate.worker.commands.regime_words import REGIMES

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

DRAWS: Final = 2_000
INTERVAL: Final = (0.025, 0.975)
FEWEST_BLOCKS: Final = 10
"""With fewer, an interval is too narrow to claim anything."""
_FEWEST_SHOWN: Final = 3
_BINS: Final = 10
# Bins with fewer of the states say nothing.
_LEAST_SHARE: Final = 0.005


class Estimate(NamedTuple):
    value: float
    low: float
    """nan where the states are of so few blocks that there is no interval."""
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:+.4f}"
        return f"{self.value:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


class Bin(NamedTuple):
    """States to which a regime was given about the same probability."""

    regime: str
    predicted: float
    followed: Estimate
    """The share of them that the regime followed."""
    states: int

    @property
    def is_right(self) -> bool:
        return self.followed.low <= self.predicted <= self.followed.high


def log_losses(logs: Floats, followed: Whole) -> Floats:
    """For each state; `logs` is of shape (3, states)."""
    found: Floats = -logs[followed, np.arange(len(followed))]
    return found


def brier_scores(logs: Floats, followed: Whole) -> Floats:
    """For each state: the squared distance of the three probabilities from what followed."""
    happened = np.equal.outer(np.arange(len(logs)), followed)
    found: Floats = np.square(np.exp(logs) - happened).sum(axis=0)
    return found


class Blocks:
    """Means over states, with intervals over the blocks that they are in."""

    def __init__(self, block_of: Whole) -> None:
        _, self._places = np.unique(block_of, return_inverse=True)
        self.count = int(self._places.max()) + 1
        random = np.random.RandomState(0)
        even = np.full(self.count, 1 / self.count)
        self._draws = random.multinomial(self.count, even, DRAWS).astype(np.float64)

    def mean(self, values: Floats, among: NDArray[np.bool_] | None = None) -> Estimate:
        """Of all states, or of those `among` them."""
        where = np.ones(len(values), np.bool_) if among is None else among
        sums, counts = (
            np.bincount(self._places[where], weights, self.count)
            for weights in (values[where], np.ones(int(where.sum())))
        )
        value = float(values[where].mean())
        if np.count_nonzero(counts) < _FEWEST_SHOWN:
            return Estimate(value, math.nan, math.nan)
        drawn = self._draws @ counts
        means = (self._draws @ sums)[drawn > 0] / drawn[drawn > 0]
        low, high = np.quantile(means, INTERVAL).tolist()
        return Estimate(value, low, high)


def reliability(logs: Floats, followed: Whole, blocks: Blocks) -> Iterator[Bin]:
    for number, regime in enumerate(REGIMES):
        probs = np.exp(logs[number])
        happened = (followed == number).astype(np.float64)
        places = np.minimum((probs * _BINS).astype(np.int64), _BINS - 1)
        for place in range(_BINS):
            among = places == place
            states = int(among.sum())
            if states > _LEAST_SHARE * len(probs):
                yield Bin(regime, float(probs[among].mean()), blocks.mean(happened, among), states)
