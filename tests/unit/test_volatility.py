"""sigma and its parts, each against a value calculated by hand."""

import math

import numpy as np
import pytest

from marketstate.core.theta import DEFAULT_THETA
from marketstate.core.volatility import ewma_sigma, logistic, mad_sigma, volatility, winsorised

EPS = DEFAULT_THETA["eps"]


def test_winsorising_clips_each_row_to_its_own_interpolated_quantiles() -> None:
    x = np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [40.0, 0.0, 10.0, 20.0, 30.0]])
    expected = [[0.4, 1.0, 2.0, 3.0, 3.2], [32.0, 4.0, 10.0, 20.0, 30.0]]
    assert winsorised(x, 0.1, 0.8).tolist() == expected


def test_the_ewma_starts_from_the_variance_of_the_first_ten_and_ends_with_the_newest() -> None:
    x = np.array([[1.0, -1.0] * 5 + [3.0]])
    # From v = 1 the first ten squares of 1 leave 1; then 0.5 * 1 + 0.5 * 9 = 5.
    assert ewma_sigma(x, 0.5).tolist() == [math.sqrt(5.0)]


def test_the_ewma_starts_from_the_population_variance_of_fewer_than_ten_returns() -> None:
    # v0 = var(1, 3) = 1; then 0.5 + 0.5 = 1; then 0.5 + 4.5 = 5.
    assert ewma_sigma(np.array([[1.0, 3.0]]), 0.5).tolist() == [math.sqrt(5.0)]


def test_the_mad_is_scaled_by_the_constant_of_the_specification() -> None:
    # Median 3; deviations 2 1 0 1 97; their median 1.
    assert mad_sigma(np.array([[1.0, 2.0, 3.0, 4.0, 100.0]])).tolist() == [1.4826]


def test_the_logistic_is_clipped_on_both_sides() -> None:
    assert logistic(0.0) == 0.5
    assert logistic(50.0) == logistic(1e300)
    assert logistic(-1e300) == 1.0 / (1.0 + math.exp(50.0))


def test_flat_returns_give_the_floor_and_no_spike() -> None:
    sigma, spike_proxy = volatility(np.zeros((1, 256)), DEFAULT_THETA["vol"], EPS)
    assert (sigma.tolist(), spike_proxy.tolist()) == ([1e-6], [0.0])


def test_the_spike_proxy_is_capped() -> None:
    theta = DEFAULT_THETA["vol"] | {"spike_proxy_cap": 0.25}
    returns = np.random.default_rng(1).standard_normal((3, 256))
    _, spike_proxy = volatility(returns, theta, EPS)
    assert spike_proxy.tolist() == [0.25] * 3


@pytest.mark.parametrize(("center", "part"), [(1e9, "fast"), (-1e9, "robust")])
def test_sigma_goes_from_the_fast_to_the_robust_estimate_with_the_weight(
    center: float, part: str
) -> None:
    theta = DEFAULT_THETA["vol"] | {"spike_center": center}
    returns = 0.01 * np.random.default_rng(2).standard_normal((1, 256))
    clipped = winsorised(returns, 0.01, 0.99)
    expected = {"fast": ewma_sigma(clipped, 0.94), "robust": mad_sigma(clipped)}[part]
    sigma, _ = volatility(returns, theta, EPS)
    assert sigma.tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_only_the_returns_of_the_window_count() -> None:
    returns = 0.01 * np.random.default_rng(3).standard_normal((1, 300))
    theta = DEFAULT_THETA["vol"] | {"window": 100}
    whole, tail = volatility(returns, theta, EPS), volatility(returns[:, -100:], theta, EPS)
    assert [column.tolist() for column in whole] == [column.tolist() for column in tail]


def test_a_window_of_one_return_is_finite() -> None:
    theta = DEFAULT_THETA["vol"] | {"window": 1}
    sigma, spike_proxy = volatility(np.array([[0.5]]), theta, EPS)
    assert spike_proxy[0] == 0.0
    assert sigma[0] == pytest.approx(0.5 * math.sqrt(0.06) * (1 - logistic(-4.0)))
