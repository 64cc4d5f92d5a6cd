"""mu and the three slopes."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import theilslopes

from core.theta import DEFAULT_THETA
from core.trend import SLOPES, huber_slope, ols_slope, theil_sen_slope, trend

LINE = 3.0 + 0.25 * np.arange(41.0)


@pytest.mark.parametrize("method", sorted(SLOPES))
def test_every_method_finds_the_slope_of_a_line(method: str) -> None:
    assert pytest.approx(0.25, abs=1e-12) == SLOPES[method](LINE)


@pytest.mark.parametrize("method", sorted(SLOPES))
def test_every_method_gives_zero_for_a_flat_line(method: str) -> None:
    assert 0.0 == SLOPES[method](np.full(30, 7.0))


@pytest.mark.parametrize("method", sorted(SLOPES))
def test_two_points_have_the_slope_between_them(method: str) -> None:
    assert 1.5 == SLOPES[method](np.array([1.0, 2.5]))


def test_theil_sen_is_the_middle_slope_of_an_odd_number_of_pairs() -> None:
    # Slopes of (0, 0) (1, 1) (2, 10): 1, 9, 5.
    assert 5.0 == theil_sen_slope(np.array([0.0, 1.0, 10.0]))


def test_theil_sen_is_the_mean_of_the_middle_slopes_of_an_even_number_of_pairs() -> None:
    # Slopes of 0 1 10 10: 1, 5, 10/3, 9, 4.5, 0; the middle ones 10/3 and 4.5.
    assert (10.0 / 3.0 + 4.5) / 2.0 == theil_sen_slope(np.array([0.0, 1.0, 10.0, 10.0]))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 63, 64, 128, 256])
def test_theil_sen_is_the_same_double_as_that_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    walks = np.cumsum(0.001 * rng.standard_normal((20, n)), axis=1)
    ticks = np.log(np.round(np.exp(walks), 2))
    for y in (*walks, *ticks):
        assert float(theilslopes(y).slope) == theil_sen_slope(y)


def test_theil_sen_leaves_its_input_as_it_was() -> None:
    y = np.random.default_rng(0).standard_normal(50)
    before = y.tolist()
    theil_sen_slope(y)
    assert before == y.tolist()


def test_least_squares_is_the_slope_of_polyfit() -> None:
    y = np.random.default_rng(5).standard_normal(77)
    assert pytest.approx(np.polyfit(np.arange(77), y, 1)[0], rel=1e-9) == ols_slope(y)


def test_huber_is_least_squares_where_no_residual_exceeds_delta() -> None:
    y = LINE + np.random.default_rng(6).uniform(-0.5, 0.5, LINE.size)
    assert ols_slope(y) == huber_slope(y)


def test_huber_gives_way_to_one_far_outlier_much_less_than_least_squares() -> None:
    y = LINE.copy()
    y[-1] += 100.0
    # By hand: the outlier pulls with delta, the others with their residuals, and both balance
    # when b * sum(t^2) = delta * t_last and a = delta / 40, about the mean of the others.
    t = np.arange(40) - 19.5
    by_hand = 0.25 + 1.35 * 20.5 / float(np.sum(t * t))
    assert pytest.approx(by_hand, rel=1e-6) == huber_slope(y)
    assert ols_slope(y) > 0.5


def test_mu_weighs_the_slopes_of_the_last_prices_with_normalised_weights() -> None:
    y = np.concatenate([np.zeros(10), np.arange(1.0, 11.0)])
    theta: Any = {"windows": [5, 20], "weights": [6.0, 2.0], "method": "ols"}
    assert [0.75 * 1.0 + 0.25 * ols_slope(y)] == trend(y[np.newaxis], theta).tolist()


def test_mu_of_reversed_prices_is_exactly_the_negative() -> None:
    y = np.cumsum(np.random.default_rng(8).standard_normal((4, 256)), axis=1)
    theta = DEFAULT_THETA["trend"] | {"windows": [256], "weights": [1.0]}
    backwards = np.ascontiguousarray(y[:, ::-1])
    assert (-trend(y, theta)).tolist() == trend(backwards, theta).tolist()
