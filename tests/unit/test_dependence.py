"""dp and vr against values calculated by hand."""

import numpy as np
import pytest

from marketstate.core.dependence import direction_persistence, variance_ratio


@pytest.mark.parametrize(
    ("returns", "dp"),
    [
        ([1.0, 2.0, 3.0], 1.0),
        ([1.0, -1.0, 1.0, -1.0], 0.0),
        ([1.0, 1.0, -1.0, -1.0, -2.0], 0.75),
        ([0.0, 0.0, 1.0], 0.5),
        ([0.0, -0.0], 1.0),
        ([0.0, 1.0], 0.0),
    ],
)
def test_dp_counts_adjacent_returns_of_equal_sign_and_zero_is_a_third_sign(
    returns: list[float], dp: float
) -> None:
    assert direction_persistence(np.array([returns])).tolist() == [dp]


def test_vr_is_the_variance_of_overlapping_sums_over_k_times_the_variance() -> None:
    # 2-sums of 1 2 4 7: 3 6 11, variance 98/9; variance 21/4, doubled 21/2.
    ratio = variance_ratio(np.array([[1.0, 2.0, 4.0, 7.0]]), 2, 1e-12)
    assert ratio[0] == pytest.approx((98 / 9) / (21 / 2), rel=1e-11)


def test_vr_guards_its_division_with_eps() -> None:
    # 2-sums 1 3: variance 1; variance of 0 1 2: 2/3.
    ratio = variance_ratio(np.array([[0.0, 1.0, 2.0]]), 2, 0.5)
    assert ratio[0] == pytest.approx(1 / (4 / 3 + 0.5), rel=1e-14)


def test_vr_of_one_sum_is_one_and_of_equal_returns_zero() -> None:
    """As the published code has it: with 0, the regime flipped in 3 of 5 windows."""
    returns = np.array([[1.0, 5.0, 2.0], [0.5, 0.5, 0.5]])
    assert variance_ratio(returns, 3, 1e-12).tolist() == [1.0, 1.0]
    assert variance_ratio(returns[1:], 2, 1e-12).tolist() == [0.0]


def test_vr_does_not_change_its_input() -> None:
    returns = np.array([[1.0, 2.0, 4.0, 7.0]])
    variance_ratio(returns, 3, 1e-12)
    assert returns.tolist() == [[1.0, 2.0, 4.0, 7.0]]


def test_vr_is_small_for_alternating_and_large_for_persistent_returns() -> None:
    alternating = np.tile([1.0, -1.0], 20)
    persistent = np.repeat([1.0, -1.0], 20)
    ratios = variance_ratio(np.stack([alternating, persistent]), 4, 1e-12)
    assert ratios[0] == 0.0
    assert ratios[1] > 3.0
