"""G2, one answer: the state of a window has the same bits in whatever way it is computed.

Also: `core` agrees with the oracle on random windows.
"""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from marketstate.core.by_numpy import ROWS_AT_ONCE
from marketstate.core.state import MarketState
from marketstate.core.theta import merged_theta
from marketstate.core.window import Window
from tests.support.oracle import oracle_state
from tests.support.states import bits, differences, leaves

Prices = NDArray[np.float64]
SMALL: dict[str, Any] = {
    "vol": {"window": 21},
    "trend": {"windows": [4, 9, 24], "weights": [3, 2, 1]},
    "regime": {"window": 17, "vr_k": 4},
}
THETAS: list[dict[str, Any]] = [
    SMALL,
    {**SMALL, "trend": {"windows": [13], "weights": [1], "method": "ols"}},
    {**SMALL, "regime": {"window": 17, "vr_k": 17}},
    {
        "vol": {"window": 1},
        "trend": {"windows": [2], "weights": [1]},
        "regime": {"window": 2, "vr_k": 1},
    },
    {
        "vol": {"window": 150, "winsor_q_low": 0, "winsor_q_high": 0.7, "spike_scale": 0.01},
        "trend": {"windows": [33], "weights": [1]},
        "regime": {"window": 131, "vr_k": 9, "softmax_temp": 0.2},
    },
]


def walks(rng: np.random.Generator, rows_n: int, prices_n: int, kind: str) -> Prices:
    """Return windows that are random walks, have ties, vary in scale, or move by single ulps."""
    noise = rng.standard_normal((rows_n, prices_n))
    wandering = 100.0 * np.exp(np.cumsum(0.002 * noise, axis=1))
    made: dict[str, Prices] = {
        "wandering": wandering,
        "tied": np.round(wandering, 1),
        "wild": np.exp(np.clip(150.0 * noise, -700.0, 700.0)),
        "ulps": 1.0 + np.rint(noise) * 2.0**-52,
    }
    return made[kind]


kinds = st.sampled_from(["wandering", "tied", "wild", "ulps"])
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=120, deadline=None)
@given(
    seed=seeds,
    kind=kinds,
    theta=st.sampled_from(THETAS),
    rows_n=st.integers(1, 2 * ROWS_AT_ONCE + 3),
    extra_n=st.integers(0, 9),
)
def test_a_window_has_the_same_bits_alone_and_anywhere_in_any_batch_and_layout(
    seed: int, kind: str, theta: dict[str, Any], rows_n: int, extra_n: int
) -> None:
    """Protects G2."""
    calculation = MarketState(theta)
    rng = np.random.default_rng(seed)
    windows = walks(rng, rows_n, calculation.minimum_length + extra_n, kind)
    alone = [bits(calculation.get_state("X", row.tolist())) for row in windows]
    wide = np.ones((2 * rows_n, windows.shape[1] + 5))
    wide[::2, 3:-2] = windows
    layouts = {
        "C": windows,
        "F": np.asfortranarray(windows),
        "sliced": wide[::2, 3:-2],
        "reversed twice": windows[:, ::-1].copy()[:, ::-1],
    }
    for layout, batch in layouts.items():
        assert (layout, [*map(bits, calculation.get_states(batch))]) == (layout, alone)
    order = rng.permutation(rows_n)
    part = order[: rng.integers(1, rows_n + 1)]
    assert [*map(bits, calculation.get_states(windows[part]))] == [alone[row] for row in part]
    strided = wide[0, 3:-2][np.newaxis].repeat(2, axis=0).T[:, 0]
    assert alone[0] == bits(calculation.get_state("X", strided))


@settings(max_examples=6, deadline=None)
@given(seed=seeds, kind=kinds)
def test_a_window_of_default_length_has_the_same_bits_alone_and_in_a_batch(
    seed: int, kind: str
) -> None:
    """Protects G2."""
    calculation = MarketState()
    windows = walks(np.random.default_rng(seed), ROWS_AT_ONCE + 2, 300, kind)
    alone = [bits(calculation.get_state("X", row)) for row in windows]
    assert [*map(bits, calculation.get_states(np.asfortranarray(windows)))] == alone


@settings(max_examples=60, deadline=None)
@given(seed=seeds, kind=kinds, batches=st.lists(st.integers(0, 70), min_size=2, max_size=6))
def test_the_state_of_a_ring_buffer_does_not_depend_on_how_its_closes_arrived(
    seed: int, kind: str, batches: list[int]
) -> None:
    """Protects G2."""
    calculation = MarketState(SMALL)
    closes_n = 40 + sum(batches)
    closes = walks(np.random.default_rng(seed), 1, closes_n, kind)[0]
    window, done = Window(30), 0
    for size in [40, *batches]:
        window.extend(range(done + 1, done + size + 1), closes[done : done + size])
        calculation.get_state("X", window.closes())
        done += size
    expected = calculation.get_state("X", closes[-30:].tolist())
    assert bits(calculation.get_state("X", window.closes())) == bits(expected)


# Ticks far above the rounding of a logarithm, below which the sign of a return is arbitrary.
priced_in_ticks = st.integers(25, 45).flatmap(
    lambda n: arrays(np.int64, n, elements=st.integers(1, 10**7), fill=st.just(500))
)
thetas = st.fixed_dictionaries(
    {
        "vol": st.fixed_dictionaries(
            {
                "window": st.integers(1, 21),
                "winsor_q_low": st.floats(0, 0.4),
                "ewma_lambda": st.floats(0.01, 0.99),
            }
        ),
        "trend": st.fixed_dictionaries(
            {
                "windows": st.lists(st.integers(2, 24), min_size=3, max_size=3),
                "method": st.sampled_from(["theil_sen", "ols"]),
            }
        ),
        "regime": st.fixed_dictionaries(
            {
                "window": st.integers(17, 24),
                "vr_k": st.integers(1, 17),
                "softmax_temp": st.floats(0.1, 10),
            }
        ),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    ticks=priced_in_ticks,
    tick=st.sampled_from([1e-6, 0.01, 1.0, 1e5]),
    theta=thetas,
)
def test_core_agrees_with_the_oracle(
    ticks: NDArray[np.int64], tick: float, theta: dict[str, Any]
) -> None:
    prices = (ticks * tick).tolist()
    expected = oracle_state(prices, dict(merged_theta(theta)))
    actual = MarketState(theta).get_state("X", prices)
    # Absolute: log prices and slopes near 0 are accurate to 1e-15, and sigma may be 1e-6.
    assert differences(expected, actual, rel=1e-9, absolute=1e-9) == []
    assert expected is not None
    assert actual is not None
    assert differences(expected["sigma"], actual["sigma"], rel=1e-9, absolute=1e-15) == []
    assert differences(expected["mu"], actual["mu"], rel=1e-9, absolute=1e-14) == []


@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_core_agrees_with_the_oracle_at_the_default_parameters(seed: int) -> None:
    prices = walks(np.random.default_rng(seed), 1, 270, "tied")[0].tolist()
    expected = oracle_state(prices, dict(merged_theta()))
    actual = MarketState().get_state("X", prices)
    assert differences(expected, actual, rel=1e-9, absolute=1e-14) == []


@settings(max_examples=60, deadline=None)
@given(seed=seeds, kind=kinds, theta=st.sampled_from(THETAS))
def test_every_number_is_finite_and_the_probabilities_sum_to_one(
    seed: int, kind: str, theta: dict[str, Any]
) -> None:
    calculation = MarketState(theta)
    windows = walks(np.random.default_rng(seed), 5, calculation.minimum_length, kind)
    for state in calculation.get_states(windows):
        assert state is not None
        probs = state["regime_probs"]
        assert abs(probs["trend"] + probs["mr"] + probs["chop"] - 1.0) < 1e-12
        assert [leaf for leaf in leaves(state) if not np.isfinite(leaf)] == []
        assert 0.0 <= state["features"]["dp"] <= 1.0
        assert state["features"]["vr"] >= 0.0
        assert 0.0 <= state["features"]["spike_proxy"] <= 5.0


@settings(max_examples=60, deadline=None)
@given(seed=seeds, factor=st.floats(0.5, 1e6))
def test_the_unit_of_the_price_does_not_matter(seed: int, factor: float) -> None:
    calculation = MarketState(SMALL)
    # Prices without ties: for equal prices, rounding could change the sign of a return of 0.
    prices = walks(np.random.default_rng(seed), 1, 30, "wandering")[0]
    expected = calculation.get_state("X", prices)
    actual = calculation.get_state("X", factor * prices)
    assert differences(expected, actual, rel=1e-7, absolute=1e-9) == []
