"""Weights whose labels divide a history into given shares: a description, no forecast.

Only two of the weights change: a1, that of ts in the score of trend, and b1, that of the distance
of vr from 1 in the score of mr. Each raises one score alone. So with each a1 one b1 gives mr its
share, and the share of trend then grows with a1.
"""

import argparse
import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marketstate.worker.commands.calibrate.likelihood import log_probabilities
from marketstate.worker.commands.options import number
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.errors import ConfigurationError

Floats = NDArray[np.float64]

NEAR: Final = 0.02
"""How far from what was asked for a share may be."""
_HALVINGS: Final = 60
_LEAST, _MOST = 1e-6, 1e6


def shares(text: str) -> dict[str, float]:
    """For the command line: one for each regime, 1 together."""
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        found[name.strip()] = number(value)
    is_whole = found.keys() == set(REGIMES) and math.isclose(sum(found.values()), 1, abs_tol=1e-6)
    if not is_whole or min(found.values()) < 0 or text.count(",") != len(REGIMES) - 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a share of each regime, 1 together, such as "
            "trend=0.2,mr=0.2,chop=0.6"
        )
    return found


def labels(x: Floats, weights: Floats) -> NDArray[np.int64]:
    """The places of the most probable regimes, the first of equal ones."""
    found: NDArray[np.int64] = np.argmax(log_probabilities(x, weights), axis=0)
    return found


def divided(x: Floats, before: Floats, wanted: Mapping[str, float]) -> Floats:
    """The weights; `before` are those in use.

    Raises ConfigurationError if these states cannot be divided so, as too many of them are alike.
    """
    search = _Search(x, before, wanted)
    low, high = math.log(_LEAST), math.log(_MOST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_few = np.mean(search.labels_at(middle) == 0) < wanted["trend"]
        low, high = (middle, high) if too_few else (low, middle)
    weights = search.weights_at(low)
    found = np.bincount(labels(x, weights), minlength=len(REGIMES)) / x.shape[2]
    asked = [wanted[regime] for regime in REGIMES]
    if np.abs(found - asked).max() > NEAR:
        listed = ", ".join(
            f"{name} {share:.1%}" for name, share in zip(REGIMES, found, strict=True)
        )
        raise ConfigurationError(
            f"these {x.shape[2]:,} states cannot be divided so: the nearest is {listed}; they are "
            "few, or many are alike, as where prices stand still, or the theta in use has unusual "
            "weights"
        )
    return weights


class _Search:
    def __init__(self, x: Floats, before: Floats, wanted: Mapping[str, float]) -> None:
        self._x, self._before = x, before
        self._mr = wanted["mr"]
        zeroed = before.copy()
        zeroed[0, 0] = zeroed[1, 0] = 0.0
        self._rest = np.einsum("jw,jwn->jn", zeroed, x)

    def labels_at(self, log_a1: float) -> NDArray[np.int64]:
        return labels(self._x, self.weights_at(log_a1))

    def weights_at(self, log_a1: float) -> Floats:
        """With this a1, and the b1 that gives mr its share."""
        trend, mr, chop = self._rest
        ts, off_walk = self._x[0, 0], self._x[1, 0]
        best_other = np.maximum(trend + math.exp(log_a1) * ts, chop)
        # A state is mr for every b1 above this.
        needed = np.divide(
            best_other - mr, off_walk, out=np.full(len(mr), np.inf), where=off_walk > 0
        )
        b1 = float(np.quantile(needed, self._mr, method="inverted_cdf")) if self._mr else _LEAST
        weights = self._before.copy()
        weights[0, 0], weights[1, 0] = math.exp(log_a1), min(max(b1, -_MOST), _MOST)
        return weights
