"""States per second, compared with scipy's Theil-Sen slopes and the literal oracle."""

import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

from marketstate.core import kernel
from marketstate.core.state import MarketState
from marketstate.core.theta import DEFAULT_THETA
from tests.bench.clocks import in_turns, ratio
from tests.bench.report import Row
from tests.support import oracle

Floats = NDArray[np.float64]

BATCHES: Final = (1, 8, 64, 512, 4_096)
# Numpy alone works in blocks of 64 rows, so larger batches take the same time per row.
MOST_BY_NUMPY: Final = 512
LANES: Final = {"kernel with AVX2": 16, "kernel": 8}
"""Way -> integers that the kernel compares at once. The second is for processors without AVX2."""
LEAST_WINDOWS: Final = 64
SOME: Final = 3
"""Windows for the slow ways."""
TURNS: Final = 5
PRICES: Final = 257


def _random(rng: np.random.RandomState, shape: tuple[int, int]) -> Floats:
    return np.asarray(0.0004 * rng.standard_normal(shape))


def _trending(rng: np.random.RandomState, shape: tuple[int, int]) -> Floats:
    return 0.0004 + _random(rng, shape)


def _flat(rng: np.random.RandomState, shape: tuple[int, int]) -> Floats:
    """One close in twenty moves."""
    return _random(rng, shape) * (rng.random_sample(shape) < 1 / 20)


def _jumping(rng: np.random.RandomState, shape: tuple[int, int]) -> Floats:
    """One close in thirty jumps, by a few percent."""
    return _random(rng, shape) * np.where(rng.random_sample(shape) < 1 / 30, 100, 1)


def _windows(returns: Floats, decimals: int) -> Floats:
    return np.asarray(np.round(100 * np.exp(np.cumsum(returns, axis=1)), decimals))


KINDS: Final[Mapping[str, tuple[Callable[..., Floats], int]]] = {
    "random": (_random, 12),
    "trending": (_trending, 12),
    "tick-rounded": (_random, 2),
    "flat": (_flat, 2),
    "jumping": (_jumping, 12),
}
"""How returns are generated, and to how many decimals prices are rounded."""


def calculation(quick: bool) -> list[Row]:
    """States per second by kind of prices, batch size and way; x: how many times as fast as
    scipy.stats.theilslopes for only the three trend windows, and as the literal oracle with it.

    In CPU seconds of a process, so that other ones on the machine have little influence.
    """
    batches, turns = (BATCHES[:2], 1) if quick else (BATCHES, TURNS)
    rows: list[Row] = []
    # scipy's large arrays cost page faults, as in every program that calculates such states. In
    # this process they would not: after larger arrays, its allocator keeps that much memory.
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        for kind, (returns, decimals) in KINDS.items():
            rng = np.random.RandomState(7)
            windows = _windows(returns(rng, (max(LEAST_WINDOWS, *batches), PRICES)), decimals)
            for n in batches:
                rows += _compared(kind, windows[: max(LEAST_WINDOWS, n)], n, turns, alone)
    return rows


def _compared(
    kind: str, windows: Floats, batch: int, turns: int, alone: ProcessPoolExecutor
) -> list[Row]:
    ours: dict[str, Callable[[], float]] = {
        name: partial(_by_kernel, lanes, windows, batch)
        for name, lanes in LANES.items()
        if kernel.use_lanes(lanes) == lanes
    }
    if batch <= MOST_BY_NUMPY:
        ours["numpy"] = partial(_by_numpy, windows, batch)
    some = windows[:: len(windows) // SOME][:SOME].tolist()
    others: dict[str, Callable[[], float]] = {
        "theilslopes": lambda: alone.submit(_seconds_each, _three_slopes, some).result(),
        "oracle": lambda: alone.submit(_seconds_each, _by_oracle, some).result(),
    }
    found = in_turns(ours | others, turns)
    return [
        {
            "prices": kind,
            "batch": batch,
            "way": way,
            "states_per_s": 1 / statistics.median(found[way]),
            "us_per_state": 1e6 * statistics.median(found[way]),
            "x_theilslopes": ratio(found["theilslopes"], found[way]),
            "x_oracle": ratio(found["oracle"], found[way]),
        }
        for way in ours
    ]


def _seconds_per_state(windows: Floats, batch: int) -> float:
    market_state = MarketState()
    market_state.get_states(windows[:1])  # a worker has prepared its parameters
    began_s = time.process_time()
    for first in range(0, len(windows), batch):
        market_state.get_states(windows[first : first + batch])
    return (time.process_time() - began_s) / len(windows)


def _by_kernel(lanes: int, windows: Floats, batch: int) -> float:
    kernel.use_lanes(lanes)
    try:
        return _seconds_per_state(windows, batch)
    finally:
        kernel.use_lanes(max(LANES.values()))


def _by_numpy(windows: Floats, batch: int) -> float:
    """As on a machine without a compiler."""
    with patch.object(kernel, "_compiled", None):
        return _seconds_per_state(windows, batch)


def _seconds_each(calculate: Callable[[list[float]], Any], windows: list[list[float]]) -> float:
    began_s = time.process_time()
    for window in windows:
        calculate(window)
    return (time.process_time() - began_s) / len(windows)


def _three_slopes(window: list[float]) -> None:
    # Slopes of log prices would take the same time.
    for n in DEFAULT_THETA["trend"]["windows"]:
        theilslopes(window[-n:])


def _by_oracle(window: list[float]) -> None:
    """With scipy's slopes, as people write it."""
    with patch.object(oracle, "theil_sen", lambda y: float(theilslopes(y).slope)):
        oracle.oracle_state(window, dict(DEFAULT_THETA))
