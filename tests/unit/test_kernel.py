"""The compiled loops and their twins in Python: the same bits."""

import math
import shutil

import numpy as np
import pytest

from core import kernel
from core.state import MarketState
from tests.support.states import bits

compiled_only = pytest.mark.skipif(
    not kernel.is_compiled(), reason="there is no compiler on this machine"
)


def test_it_is_compiled_where_there_is_a_compiler() -> None:
    """Otherwise an error in it, or in how it is built, would only show as slowness."""
    assert kernel.is_compiled() == any(map(shutil.which, ("cc", "gcc")))


def test_logarithms_are_those_of_the_c_library() -> None:
    prices = np.exp(np.random.default_rng(1).uniform(-40, 40, (7, 301)))
    expected = [[math.log(price) for price in row] for row in prices.tolist()]
    assert kernel.logs(prices).tolist() == expected
    assert kernel.logs(np.asfortranarray(prices)).tolist() == expected


def test_the_moving_average_is_the_plain_recursion() -> None:
    rng = np.random.default_rng(2)
    squares, starts = rng.standard_normal((5, 256)) ** 2, rng.uniform(0, 1, 5)
    expected = []
    for start, row in zip(starts.tolist(), squares.tolist(), strict=True):
        v = start
        for square in row:
            v = 0.94 * v + (1.0 - 0.94) * square
        expected.append(v)
    assert kernel.ewma(squares, 0.94, starts).tolist() == expected
    assert kernel.ewma(np.asfortranarray(squares), 0.94, starts).tolist() == expected


@compiled_only
def test_states_have_the_same_bits_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: one worker of a group may have a compiler, and another may not."""
    rng = np.random.default_rng(3)
    walks = 100.0 * np.exp(np.cumsum(0.001 * rng.standard_normal((100, 300)), axis=1))
    windows = np.concatenate((walks, np.round(walks, 1), np.full((1, 300), 5.0)))
    compiled = MarketState().get_states(windows)
    monkeypatch.setattr(kernel, "_compiled", None)
    assert [*map(bits, compiled)] == [*map(bits, MarketState().get_states(windows))]
