"""The Theil-Sen slope, by hand."""

import numpy as np
import pytest

from marketstate.core.theil_sen import median_of_all_slopes, theil_sen_slopes


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([1.0, 2.5], 1.5),
        # Slopes of (0, 0) (1, 1) (2, 10): 1, 9, 5.
        ([0.0, 1.0, 10.0], 5.0),
        # Slopes of 0 1 10 10: 1, 5, 10/3, 9, 4.5, 0; the middle ones are 10/3 and 4.5.
        ([0.0, 1.0, 10.0, 10.0], (10.0 / 3.0 + 4.5) / 2.0),
    ],
)
def test_it_is_the_middle_slope_or_the_mean_of_the_two_middle_ones(
    y: list[float], expected: float
) -> None:
    assert theil_sen_slopes(np.array([y])).tolist() == [expected]
    assert median_of_all_slopes(np.array(y)) == expected


def test_zero_rows_give_zero_slopes() -> None:
    assert theil_sen_slopes(np.empty((0, 64))).tolist() == []


def test_it_does_not_change_its_input() -> None:
    y = np.random.default_rng(0).standard_normal((3, 200))
    before = y.tolist()
    theil_sen_slopes(y)
    assert y.tolist() == before


def test_rows_may_be_slices_of_longer_rows() -> None:
    y = np.random.default_rng(1).standard_normal((5, 300))
    assert theil_sen_slopes(y[:, -128:].copy()).tolist() == theil_sen_slopes(y[:, -128:]).tolist()
