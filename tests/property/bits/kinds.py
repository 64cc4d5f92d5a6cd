"""Kinds of hard windows: many at once, as rows of prices."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Callable[[Generator, int, int], Floats]
"""Makes so many rows of so many prices."""

SMALLEST: Final = 5e-324
LARGEST: Final = 1e308


def _each_row(rng: Generator, rows: int, low: float, high: float) -> Floats:
    """A number for each row, as a column: ten to the power of `low` to `high`."""
    return np.asarray(10.0 ** rng.uniform(low, high, (rows, 1)))


def _seldom(rng: Generator, rows: int, n: int) -> Floats:
    """Ones at a few places; zeros elsewhere."""
    return (rng.random((rows, n)) < rng.uniform(0.005, 0.1)).astype(np.float64)


def _path(rng: Generator, rows: int, n: int) -> Floats:
    """A random walk of log prices at the scale of real candles, and larger."""
    steps = rng.standard_normal((rows, n)) * _each_row(rng, rows, -5, -1.5)
    return np.asarray(np.cumsum(steps, axis=1))


def walk(rng: Generator, rows: int, n: int) -> Floats:
    return np.asarray(_each_row(rng, rows, -8, 5) * np.exp(_path(rng, rows, n)))


def ticks(rng: Generator, rows: int, n: int) -> Floats:
    """Rounded prices: ties, and in the extreme only a few values."""
    tick = _each_row(rng, rows, -5, -1)
    return np.asarray(np.maximum(np.round(np.exp(_path(rng, rows, n)) / tick), 1.0) * tick)


def tick_steps(rng: Generator, rows: int, n: int) -> Floats:
    """Up or down by exactly one tick, or not at all: many slopes are nearly equal."""
    steps = rng.integers(-1, 2, (rows, n)) * (rng.random((rows, n)) < rng.uniform(0.05, 1.0))
    return np.asarray((5_000.0 + np.cumsum(steps, axis=1)) * _each_row(rng, rows, -6, 0))


def drift(rng: Generator, rows: int, n: int) -> Floats:
    slopes = rng.standard_normal((rows, 1)) * _each_row(rng, rows, -6, -1)
    return np.asarray(np.exp(_path(rng, rows, n) + slopes * np.arange(n)))


def jumps(rng: Generator, rows: int, n: int) -> Floats:
    sizes = rng.standard_normal((rows, n)) * _each_row(rng, rows, -2, 0.5)
    jumped = np.cumsum(_seldom(rng, rows, n) * sizes, axis=1)
    return np.asarray(np.exp(_path(rng, rows, n) + jumped))


def spikes(rng: Generator, rows: int, n: int) -> Floats:
    sizes = rng.standard_normal((rows, n)) * _each_row(rng, rows, -2, 1)
    return np.asarray(np.exp(_path(rng, rows, n) + _seldom(rng, rows, n) * sizes))


def line(rng: Generator, rows: int, n: int) -> Floats:
    """All slopes between log prices are equal, except for rounding."""
    slopes = rng.standard_normal((rows, 1)) * _each_row(rng, rows, -7, -1)
    return np.asarray(_each_row(rng, rows, -3, 5) * np.exp(slopes * np.arange(n)))


def price_line(rng: Generator, rows: int, n: int) -> Floats:
    """Equal steps of the price itself."""
    return np.asarray(
        _each_row(rng, rows, -3, 5) * (1.0 + _each_row(rng, rows, -8, 0) * np.arange(n))
    )


def nearly_line(rng: Generator, rows: int, n: int) -> Floats:
    noise = rng.standard_normal((rows, n)) * _each_row(rng, rows, -17, -9)
    return np.asarray(line(rng, rows, n) * (1.0 + noise))


def kinks(rng: Generator, rows: int, n: int) -> Floats:
    """A few straight lines, one after the other."""
    slopes = rng.standard_normal((rows, 1)) + np.cumsum(
        _seldom(rng, rows, n) / 3 * rng.standard_normal((rows, n)), axis=1
    )
    return np.asarray(np.exp(np.cumsum(slopes * _each_row(rng, rows, -6, -2), axis=1)))


def flat(rng: Generator, rows: int, n: int) -> Floats:
    return np.repeat(_each_row(rng, rows, -8, 8), n, axis=1)


def nearly_flat(rng: Generator, rows: int, n: int) -> Floats:
    """Prices that differ in their last bits."""
    prices = flat(rng, rows, n)
    return np.asarray(prices + np.spacing(prices) * rng.integers(-2, 3, (rows, n)))


def stale(rng: Generator, rows: int, n: int) -> Floats:
    """Most closes repeat the one before."""
    moves = _seldom(rng, rows, n) * rng.standard_normal((rows, n)) * _each_row(rng, rows, -5, -1)
    return np.asarray(np.exp(np.cumsum(moves, axis=1)))


def periodic(rng: Generator, rows: int, n: int) -> Floats:
    """The same few prices again and again; with two of them, alternating."""
    period = np.exp(rng.standard_normal((rows, rng.integers(2, 7))) * _each_row(rng, rows, -6, 0))
    return np.asarray(np.tile(period, n // period.shape[1] + 1)[:, :n])


def few_values(rng: Generator, rows: int, n: int) -> Floats:
    values = np.exp(rng.standard_normal(rng.integers(2, 6)) * 10.0 ** rng.uniform(-8, 1))
    return np.asarray(rng.choice(values, (rows, n)))


def reverting(rng: Generator, rows: int, n: int) -> Floats:
    noise = rng.standard_normal((rows, n)) * _each_row(rng, rows, -5, -1)
    return np.asarray(np.exp(noise))


def outliers(rng: Generator, rows: int, n: int) -> Floats:
    return np.asarray(np.exp(np.clip(rng.standard_cauchy((rows, n)) ** 3, -700.0, 700.0)))


def wild(rng: Generator, rows: int, n: int) -> Floats:
    """Prices of every size that there is."""
    return np.asarray(np.exp(rng.uniform(-745.0, 709.0, (rows, n))))


def tiny(rng: Generator, rows: int, n: int) -> Floats:
    """Prices far below eps, some of them denormal."""
    return np.asarray(walk(rng, rows, n) * 1e-300 * _each_row(rng, rows, -18, 0))


def huge(rng: Generator, rows: int, n: int) -> Floats:
    return np.asarray(walk(rng, rows, n) * 1e300)


def denormal(rng: Generator, rows: int, n: int) -> Floats:
    return np.asarray(rng.integers(1, rng.integers(2, 1_000), (rows, n)) * SMALLEST)


KINDS: Final[tuple[Kind, ...]] = (
    *(walk, walk, walk, ticks, ticks, tick_steps, drift, jumps, spikes, line, price_line),
    *(nearly_line, kinks, flat, nearly_flat, stale, periodic, few_values, reverting, outliers),
    *(wild, tiny, huge, denormal),
)


def drawn(rng: Generator, rows: int, n: int) -> tuple[str, Floats]:
    """Rows of one kind, or of one kind that becomes another, and a name for it."""
    kind = KINDS[rng.integers(len(KINDS))]
    prices, name = kind(rng, rows, n), kind.__name__
    if rng.random() < 0.15:
        other, start = KINDS[rng.integers(len(KINDS))], int(rng.integers(1, n))
        prices[:, start:] = other(rng, rows, n - start)
        name += f", then {other.__name__}"
    usable: Any = np.clip(np.nan_to_num(prices, nan=1.0), SMALLEST, LARGEST)
    return name, usable
