"""The compiled calculation and its twin in numpy: the same bits."""

import math
import shutil
from typing import Any, Final

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from marketstate.core import kernel
from marketstate.core.state import MarketState
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


THETAS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "many points": {"trend": {"windows": [65, 300, 600], "weights": [1, 2, 3]}},
    "few points": {
        "vol": {"window": 1},
        "trend": {"windows": [2], "weights": [1]},
        "regime": {"window": 2, "vr_k": 1},
    },
    "odd": {
        "vol": {"window": 151, "winsor_q_low": 0, "winsor_q_high": 0.7, "spike_scale": 0.01},
        "trend": {"windows": [127, 63, 127], "weights": [0, 1, 1]},
        "regime": {"window": 131, "vr_k": 131, "softmax_temp": 0.2},
    },
    "least squares": {"trend": {"method": "ols"}},
    "huber": {"trend": {"windows": [40], "weights": [1], "method": "huber"}},
}


def _hard_windows(prices_n: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    noise, t = rng.standard_normal((6, prices_n)), np.arange(prices_n)
    walks = 100.0 * np.exp(np.cumsum(0.001 * noise, axis=1))
    jumps = 100.0 * np.exp(np.cumsum(0.001 * noise * (1 + 50 * (noise > 1.8)), axis=1))
    one_walk = 100.0 * np.exp(np.cumsum(0.001 * rng.standard_normal(prices_n + 5)))
    return np.concatenate(
        (
            walks,
            jumps,
            np.round(walks, 1),
            np.round(walks, 0),
            100.0 + 0.01 * (noise > 0.5),
            np.exp(1e-5 * t * noise[:, :1]),
            1.0 + np.rint(noise) * 2.0**-52,
            np.exp(np.clip(150.0 * noise, -700.0, 700.0)),
            np.full((1, prices_n), 5.0),
            sliding_window_view(one_walk, prices_n),
        )
    )


@compiled_only
@pytest.mark.parametrize("theta", THETAS)
def test_states_have_the_same_bits_compiled_or_not(
    theta: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: workers of one group may run on different processors, with or without a compiler."""
    calculation = MarketState(THETAS[theta])
    windows = _hard_windows(calculation.minimum_length + 3)
    found = {}
    for lanes in (8, 16):
        kernel.use_lanes(lanes)
        found[f"up to {lanes} lanes"] = [*map(bits, calculation.get_states(windows))]
    monkeypatch.setattr(kernel, "_compiled", None)
    expected = [*map(bits, calculation.get_states(windows))]
    assert found == dict.fromkeys(found, expected)


@compiled_only
def test_the_kernel_compares_8_or_16_integers_at_once() -> None:
    assert kernel.use_lanes(8) == 8
    assert kernel.use_lanes(16) in {8, 16}


def test_without_a_kernel_no_integers_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_compiled", None)
    assert kernel.use_lanes(16) == 0
