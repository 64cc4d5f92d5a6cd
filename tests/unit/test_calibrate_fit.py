"""The fit of the nine weights: its formula, its optimum, and that it gives probabilities back."""

from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from marketstate.core.regime import regime_scores, softmax
from marketstate.core.theta import merged_theta
from marketstate.worker.commands.calibrate.likelihood import fitted, log_probabilities, terms
from marketstate.worker.commands.calibrate.scores import Blocks, log_losses, reliability
from marketstate.worker.commands.calibrate.weights import weights_in, with_weights

Floats = NDArray[np.float64]

# As a theta file may have them: none of the terms that the formula has is without effect.
WEIGHTS: Final = np.array([[4.0, -1.0, 0.5], [3.0, 1.0, 0.5], [0.2, 2.0, 1.5]])


def features(count: int, seed: int, largest_ts: float = 2.0) -> Floats:
    """About as large as they are in markets."""
    random = np.random.RandomState(seed)
    ts = np.minimum(np.abs(random.standard_normal(count)) * 0.4, largest_ts)
    return terms(ts, random.uniform(0.3, 0.7, count), random.uniform(0.3, 1.7, count))


def drawn(x: Floats, seed: int, weights: Floats = WEIGHTS) -> NDArray[np.int64]:
    """What follows, drawn with the probabilities that these weights give."""
    probs = np.exp(log_probabilities(x, weights))
    at = np.random.RandomState(seed).random_sample(x.shape[2])
    found: NDArray[np.int64] = (at > np.cumsum(probs, axis=0)[:2]).sum(axis=0)
    return found


def test_the_probabilities_are_those_of_the_calculation() -> None:
    ts, dp, vr = [0.0, 0.3, 2.5], [0.0, 0.6, 1.0], [0.0, 1.0, 2.5]
    theta = merged_theta({"regime": {"softmax_temp": 0.5, "score": {"a1": 4.0, "c3": -2.0}}})
    found = np.exp(log_probabilities(terms(*map(np.array, (ts, dp, vr))), weights_in(theta)))
    again = with_weights(theta, weights_in(theta))
    for i, features in enumerate(zip(ts, dp, vr, strict=True)):
        for regime in (theta["regime"], again["regime"]):
            expected = softmax(regime_scores(*features, regime["score"]), regime["softmax_temp"])
            assert found[:, i].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_general_optimiser_finds_the_same_optimum() -> None:
    x = features(2_000, 1, largest_ts=1.0)
    followed = drawn(x, 2)

    def loss(weights: Floats) -> float:
        return float(log_losses(log_probabilities(x, weights.reshape(3, 3)), followed).mean())

    found = fitted(x, followed)
    general: Any = minimize(loss, np.ones(9), method="BFGS", options={"gtol": 1e-7})
    assert loss(found) == pytest.approx(general.fun, abs=1e-8)
    probs, expected = (
        np.exp(log_probabilities(x, each.reshape(3, 3))) for each in (found, general.x)
    )
    assert np.abs(probs - expected).max() < 1e-4


def test_a_multinomial_logistic_regression_by_the_book_finds_the_same_optimum() -> None:
    """One vector of coefficients with a design of its own for each class, by Newton's steps."""
    x = features(2_000, 3, largest_ts=1.0)
    followed = drawn(x, 4)
    design = np.zeros((2_000, 3, 9))
    for score in range(3):
        design[:, score, 3 * score : 3 * score + 3] = x[score].T
    beta = np.zeros(9)
    for _ in range(30):
        scores = design @ beta
        probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        mean = np.einsum("ns,nsw->nw", probs, design)
        chosen = design[np.arange(2_000), followed]
        slope = (chosen - mean).sum(axis=0)
        curvature = np.einsum("ns,nsw,nsv->wv", probs, design, design) - mean.T @ mean
        beta += np.linalg.pinv(curvature, rcond=1e-10) @ slope
    found = np.exp(log_probabilities(x, fitted(x, followed)))
    assert np.abs(found - probs.T).max() < 1e-4


def test_probabilities_that_the_formula_can_give_are_given_back() -> None:
    """Within sampling error, on other states than those of the fit."""
    fit = features(40_000, 5)
    weights = fitted(fit, drawn(fit, 6))
    right = total = 0
    for seed in range(5):
        x = features(20_000, 10 + seed)
        blocks = Blocks(np.arange(20_000) // 500)
        bins = list(reliability(log_probabilities(x, weights), drawn(x, 20 + seed), blocks))
        right, total = right + sum(one.is_right for one in bins), total + len(bins)
    assert total >= 100
    assert right / total > 0.85, "intervals of 95%, over 40 blocks"


@pytest.mark.parametrize("only", [0, 1, 2])
def test_what_always_followed_has_finite_weights(only: int) -> None:
    x = features(500, 7)
    weights = fitted(x, np.full(500, only))
    assert np.isfinite(weights).all()
    assert np.exp(log_probabilities(x, weights))[only].min() > 0.99


def test_features_that_never_vary_have_finite_weights() -> None:
    still = terms(np.zeros(100), np.ones(100), np.zeros(100))
    assert np.isfinite(fitted(still, np.arange(100) % 3)).all()
