"""The ways to calculate the states of windows, and how they are compared."""

from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.stats import theilslopes

from marketstate.core import kernel
from marketstate.core.kernel import NAMES
from marketstate.core.state import MarketState
from tests.property.bits.blocks import Block
from tests.property.bits.kinds import Floats


def by_kernel(block: Block, lanes: int) -> Floats:
    kernel.use_lanes(lanes)
    return _rows(block.theta, block.windows)


def by_numpy(block: Block, every: int) -> Floats:
    """The states of one window in `every`, as on a machine without a compiler."""
    with patch.object(kernel, "_compiled", None):
        return _rows(block.theta, block.windows[::every])


def _rows(theta: dict[str, Any], windows: Floats) -> Floats:
    rows = MarketState(theta).rows(windows)
    assert rows is not None
    return rows


def differences(way: str, expected: Floats, found: Floats, every: int = 1) -> list[str]:
    """Where the bits of two ways differ; [] if nowhere. `every`: which rows `found` has."""
    expected = expected[::every]
    differ = expected.view(np.int64) != found.view(np.int64)
    return [
        f"window {row * every}, {NAMES[column]}: {expected[row, column].hex()} with AVX2, "
        f"{found[row, column].hex()} {way}"
        for row, column in zip(*np.nonzero(differ), strict=True)
    ]


def slope_differences(block: Block, every: int) -> list[str]:
    """Where slopes of one window in `every` differ from those of scipy; -0.0 is 0.0."""
    theta = MarketState(block.theta).theta
    windows = np.ascontiguousarray(block.windows[::every])
    log_prices = kernel.logs(windows + theta["eps"])
    wrong = []
    for n in theta["trend"]["windows"]:
        points = log_prices[:, -n:]
        scipys = [float(theilslopes(row).slope) for row in points]
        for lanes in (8, 16):
            kernel.use_lanes(lanes)
            ours, _ = kernel.median_slopes(points)
            wrong += [
                f"window {row * every}, slope of {n} points, {lanes} lanes: {one.hex()}, "
                f"scipy {other.hex()}"
                for row, (one, other) in enumerate(zip(ours.tolist(), scipys, strict=True))
                if one != other
            ]
    return wrong
