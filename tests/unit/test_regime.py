"""Scores, softmax and the name of the regime."""

import math

import pytest

from marketstate.core.regime import most_probable, regime_of, regime_scores, softmax
from marketstate.core.theta import DEFAULT_THETA

REGIME = DEFAULT_THETA["regime"]


def test_the_published_probabilities_are_reproduced() -> None:
    scores = regime_scores(0.245439, 0.556863, 1.007189, REGIME["score"])
    probs = softmax(scores, REGIME["softmax_temp"])
    assert [f"{p:.6f}" for p in probs] == ["0.371906", "0.075824", "0.552270"]
    assert most_probable(*probs) == "chop"


def test_every_weight_counts_in_the_right_score_with_the_right_sign() -> None:
    score = dict(
        zip(("a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"), range(1, 10), strict=True)
    )
    trend, mr, chop = regime_scores(0.5, 0.25, 3.0, score)
    assert trend == 1 * 0.5 + 2 * 0.25 - 3 * 2.0
    assert mr == 4 * 2.0 - 5 * 0.5 - 6 * 0.25
    assert chop == 7 * 0.75 + 8 * 0.5 - 9 * 2.0


def test_a_trend_strength_above_one_lowers_chop_no_further() -> None:
    at_one = regime_scores(1.0, 0.5, 1.0, REGIME["score"])
    above = regime_scores(7.0, 0.5, 1.0, REGIME["score"])
    assert (above[2], above[0]) == (at_one[2], at_one[0] + 6.0)


def test_the_temperature_divides_the_scores() -> None:
    assert softmax((2.0, 4.0, 6.0), 1.0) == softmax((1.0, 2.0, 3.0), 0.5)


def test_scores_too_large_for_exp_still_give_probabilities() -> None:
    assert softmax((-1e6, 0.0, 1e6), 1e-3) == (0.0, 0.0, 1.0)
    assert softmax((1e300, 1e300, -1e300), 1.0) == (0.5, 0.5, 0.0)


def test_the_softmax_of_known_scores_is_known() -> None:
    actual = softmax((0.0, math.log(2.0), math.log(5.0)), 1.0)
    assert actual == pytest.approx((0.125, 0.25, 0.625), rel=1e-15)


@pytest.mark.parametrize(
    ("trend", "mr", "chop", "regime"),
    [
        (0.5, 0.3, 0.2, "trend"),
        (0.3, 0.5, 0.2, "mr"),
        (0.2, 0.3, 0.5, "chop"),
        (0.4, 0.4, 0.2, "trend"),
        (0.4, 0.2, 0.4, "trend"),
        (0.2, 0.4, 0.4, "mr"),
        (1 / 3, 1 / 3, 1 / 3, "trend"),
    ],
)
def test_the_regime_is_the_most_probable_and_the_first_on_a_tie(
    trend: float, mr: float, chop: float, regime: str
) -> None:
    assert regime_of({"chop": chop, "mr": mr, "trend": trend}) == regime
