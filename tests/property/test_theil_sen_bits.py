"""The Theil-Sen slope is the same double as scipy's, on every input, compiled or not.

Windows have all lengths from 2 to 2,048; most are short, because that is fast. A hundred thousand
come from generators of hard cases, and more from hypothesis.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import theilslopes

from marketstate.core import kernel
from marketstate.core.theil_sen import median_of_all_slopes, theil_sen_slopes
from tests.support.oracle import theil_sen

Floats = NDArray[np.float64]
Make = Callable[[np.random.Generator, int], Floats]

WINDOWS_OF_A_KIND: Final = 8_500
COUNTED_ONES: Final = 400
# scipy is slow. The oracle finds the same median, which is compared on one of so many.
OF_A_LENGTH: Final = 10
LONG_ONES: Final = (*range(250, 262), 511, 512, 513, 1_024, 2_047, 2_048)


def _walk(rng: np.random.Generator, n: int) -> Floats:
    return np.cumsum(rng.standard_normal(n) * 10.0 ** rng.uniform(-5, -1)).astype(np.float64)


def _line(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(4.0 + rng.normal() * np.arange(n), dtype=np.float64)


def _jumps(rng: np.random.Generator, n: int) -> Floats:
    where = rng.integers(0, n, size=rng.integers(1, 4))
    jumps = [(np.arange(n) > at) * rng.normal() for at in where]
    return np.asarray(_walk(rng, n) + np.sum(jumps, axis=0), dtype=np.float64)


def _stale(rng: np.random.Generator, n: int) -> Floats:
    kept = np.maximum.accumulate(np.where(rng.random(n) < 0.3, np.arange(n), 0))
    return _walk(rng, n)[kept]


def _periodic(rng: np.random.Generator, n: int) -> Floats:
    return np.tile(rng.standard_normal(rng.integers(1, 6)), n)[:n]


def _nearly_flat(rng: np.random.Generator, n: int) -> Floats:
    return np.asarray(rng.normal() + np.spacing(1.0) * rng.integers(0, 3, n), dtype=np.float64)


KINDS: Final[dict[str, Make]] = {
    "walk": _walk,
    "log prices": lambda rng, n: _walk(rng, n) + 11.0,
    "ticks": lambda rng, n: np.log(np.round(20.0 * np.exp(_walk(rng, n)), rng.integers(0, 4)) + 1),
    "trend": lambda rng, n: _walk(rng, n) + rng.normal() * np.arange(n),
    "line": _line,
    "flat": lambda rng, n: np.full(n, rng.normal()),
    "nearly flat": _nearly_flat,
    "stale": _stale,
    "jumps": _jumps,
    "periodic": _periodic,
    "few values": lambda rng, n: rng.choice([0.0, -0.0, 1e-300, 1.0, 1e10], n),
    "outliers": lambda rng, n: rng.standard_cauchy(n) ** 3,
}


def _lengths(rng: np.random.Generator) -> list[int]:
    # From 64 points on, slopes are counted.
    lengths = WINDOWS_OF_A_KIND // OF_A_LENGTH
    counted = rng.integers(60, 140, COUNTED_ONES // OF_A_LENGTH)
    short = rng.integers(2, 40, lengths - len(counted) - len(LONG_ONES))
    return [*short.tolist(), *counted.tolist(), *LONG_ONES]


def _scipy(y: Floats) -> float:
    return float(theilslopes(y).slope)


def _by_every_way(rows: Floats) -> list[list[float]]:
    """The slopes of the kernel, without AVX2 and with it, and of its twin."""
    found = []
    for lanes in (8, 16):
        kernel.use_lanes(lanes)
        found.append(theil_sen_slopes(rows).tolist())
    return [*found, [median_of_all_slopes(y) for y in rows]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_hard_windows_have_the_same_double_as_scipy(kind: str) -> None:
    """Protects G2."""
    rng = np.random.default_rng([len(kind), *kind.encode()])
    for n in _lengths(rng):
        rows = np.stack([KINDS[kind](rng, n) for _ in range(OF_A_LENGTH)])
        expected = [theil_sen(row.tolist()) for row in rows]
        assert [expected] * 3 == _by_every_way(rows), (kind, n)
        assert expected[0] == _scipy(rows[0]), (kind, n)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.integers(2, 70).flatmap(
        lambda n: arrays(
            np.float64,
            st.tuples(st.integers(1, 4), st.just(n)),
            elements=st.floats(-1e150, 1e150) | st.floats(-1.0, 1.0) | st.sampled_from([0.0, 1.0]),
        )
    )
)
def test_windows_from_hypothesis_have_the_same_double_as_scipy(rows: Floats) -> None:
    """Protects G2."""
    expected = [_scipy(y) for y in rows]
    assert [expected] * 3 == _by_every_way(rows)


@pytest.mark.parametrize("n", [3, 64, 128, 256, 700])
def test_a_row_has_the_same_double_alone_and_in_a_batch(n: int) -> None:
    """Protects G2."""
    rng = np.random.default_rng(n)
    rows = np.stack([make(rng, n) for make in KINDS.values() for _ in range(3)])
    together = theil_sen_slopes(rows).tolist()
    assert [theil_sen_slopes(row[np.newaxis])[0] for row in rows] == together
    assert theil_sen_slopes(rows[::-1].copy()).tolist() == together[::-1]


@pytest.mark.skipif(not kernel.is_compiled(), reason="there is no compiler on this machine")
@pytest.mark.parametrize("n", [64, 128, 256, 2_048])
@pytest.mark.parametrize("kind", ["walk", "log prices", "ticks", "trend", "flat", "stale"])
def test_the_kernel_finds_nearly_all_market_slopes_by_counting(kind: str, n: int) -> None:
    """The others are correct too, but slow."""
    rng = np.random.default_rng(4)
    rows = np.stack([KINDS[kind](rng, n) for _ in range(100)])
    _, calculated_n = kernel.median_slopes(rows)
    assert calculated_n <= 3


@pytest.mark.parametrize("n", [64, 128, 256, 700])
def test_points_that_differ_in_their_last_bit_after_a_far_move_are_not_equal(n: int) -> None:
    """Seen from the first point, their distances are equal numbers."""
    rng = np.random.default_rng(n)
    rows = np.stack([_nearly_flat(rng, n) for _ in range(60)])
    rows[:, : n // 4] -= np.linspace(40.0, 1.0, n // 4)
    assert [[_scipy(y) for y in rows]] * 3 == _by_every_way(rows)


def test_rows_too_long_for_the_compiled_search_give_the_same_double_as_scipy() -> None:
    y = np.random.default_rng(9).standard_normal((1, 2_049))
    assert [[_scipy(y[0])]] * 3 == _by_every_way(y)
