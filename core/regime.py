"""Regime probabilities: three linear scores and their softmax."""

import math
from collections.abc import Mapping
from typing import TypedDict


class RegimeProbs(TypedDict):
    """Probabilities [1] of the three regimes; they sum to 1."""

    trend: float
    mr: float
    chop: float


def regime_scores(
    ts: float, dp: float, vr: float, score: Mapping[str, float]
) -> tuple[float, float, float]:
    """Return the scores of the three regimes.

    Parameters
    ----------
    ts : float
        Trend strength [1], >= 0.
    dp : float
        Direction persistence [1], from 0 to 1.
    vr : float
        Variance ratio [1], >= 0.
    score : mapping
        The weights [1], ``theta["regime"]["score"]``.

    Returns
    -------
    trend, mr, chop : float
        [1]; `softmax` makes probabilities of them.
    """
    off_walk = abs(vr - 1.0)
    s_trend = score["a1"] * ts + score["a2"] * dp - score["a3"] * off_walk
    s_mr = score["b1"] * off_walk - score["b2"] * ts - score["b3"] * abs(dp)
    s_chop = (
        score["c1"] * (1.0 - abs(dp)) + score["c2"] * (1.0 - min(ts, 1.0)) - score["c3"] * off_walk
    )
    return s_trend, s_mr, s_chop


def softmax(scores: tuple[float, float, float], temp: float) -> tuple[float, float, float]:
    """Return exp(score / temp), normalised to sum to 1 and shifted so that exp cannot overflow.

    Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.
    """
    top = max(scores) / temp
    trend, mr, chop = (math.exp(score / temp - top) for score in scores)
    total = trend + mr + chop
    return trend / total, mr / total, chop / total


def regime_of(probs: RegimeProbs) -> str:
    """Return the regime with the largest probability; on a tie the first of trend, mr, chop."""
    return most_probable(probs["trend"], probs["mr"], probs["chop"])


def most_probable(trend: float, mr: float, chop: float) -> str:
    """Return the regime with the largest of these probabilities [1]; on a tie the first."""
    largest = max(trend, mr, chop)
    return "trend" if trend == largest else "mr" if mr == largest else "chop"
