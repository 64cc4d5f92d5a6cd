"""mu and the three slopes."""

from typing import Any

import numpy as np
import pytest

from marketstate.core.theta import DEFAULT_THETA
from marketstate.core.trend import SLOPES, huber_slope, ols_slope, trend

LINE = 3.0 + 0.25 * np.arange(41.0)


@pytest.mark.parametrize("method", sorted(SLOPES))
def test_every_method_finds_the_slope_of_a_line(method: str) -> None:
    assert SLOPES[method](LINE[np.newaxis])[0] == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize("method", sorted(SLOPES))
def test_every_method_gives_zero_for_a_flat_line(method: str) -> None:
    assert SLOPES[method](np.full((1, 30), 7.0))[0] == 0.0


@pytest.mark.parametrize("method", sorted(SLOPES))
def test_two_points_have_the_slope_between_them(method: str) -> None:
    assert SLOPES[method](np.array([[1.0, 2.5]]))[0] == 1.5


def test_least_squares_is_the_slope_of_polyfit() -> None:
    y = np.random.default_rng(5).standard_normal(77)
    assert ols_slope(y) == pytest.approx(np.polyfit(np.arange(77), y, 1)[0], rel=1e-9)


def test_huber_is_least_squares_where_no_residual_exceeds_delta() -> None:
    y = LINE + np.random.default_rng(6).uniform(-0.5, 0.5, LINE.size)
    assert ols_slope(y) == huber_slope(y)


def test_an_outlier_moves_huber_much_less_than_least_squares() -> None:
    y = LINE.copy()
    y[-1] += 100.0
    # By hand: the outlier pulls with delta, the others with their residuals, and both balance
    # when b * sum(t^2) = delta * t_last and a = delta / 40, about the mean of the others.
    t = np.arange(40) - 19.5
    by_hand = 0.25 + 1.35 * 20.5 / float(np.sum(t * t))
    assert huber_slope(y) == pytest.approx(by_hand, rel=1e-6)
    assert ols_slope(y) > 0.5


def test_mu_weighs_the_slopes_of_the_last_prices_with_normalised_weights() -> None:
    y = np.concatenate([np.zeros(10), np.arange(1.0, 11.0)])
    theta: Any = {"windows": [5, 20], "weights": [6.0, 2.0], "method": "ols"}
    assert trend(y[np.newaxis], theta).tolist() == [0.75 * 1.0 + 0.25 * ols_slope(y)]


def test_mu_of_reversed_prices_is_exactly_the_negative() -> None:
    y = np.cumsum(np.random.default_rng(8).standard_normal((4, 256)), axis=1)
    theta = DEFAULT_THETA["trend"] | {"windows": [256], "weights": [1.0]}
    backwards = np.ascontiguousarray(y[:, ::-1])
    assert trend(backwards, theta).tolist() == (-trend(y, theta)).tolist()
