"""The state of a window: its form, its errors, its published figures."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marketstate.core.state
import marketstate.core.theta
from marketstate.core.regime import regime_of
from marketstate.core.state import DEFAULT_THETA, NAMES, MarketState, State, market_states
from marketstate.core.theta import ThetaError
from tests.support.states import bits, leaves

ROOT = Path(__file__).parents[2]
WALKS = 100.0 * np.exp(np.cumsum(0.01 * np.random.default_rng(7).standard_normal((4, 300)), axis=1))


def state_of(prices: Any, theta: dict[str, Any] | None = None) -> State:
    state = MarketState(theta).get_state("BTCUSDT", prices)
    assert state is not None
    return state


def test_the_published_figures_are_reproduced() -> None:
    noise = np.random.RandomState(42).randn(300)
    state = state_of(100 * np.exp(np.cumsum(0.01 * noise + 0.002)))
    probs = state["regime_probs"]
    assert (
        f"{state['sigma']:.8f} {state['mu']:.8f} {state['ts']:.6f}"
    ) == "0.00967080 0.00186241 0.192581"
    assert (
        " ".join(f"{100 * probs[name]:.2f}" for name in ("chop", "trend", "mr"))
        == "56.72 30.31 12.97"
    )
    assert regime_of(probs) == "chop"


def test_the_state_has_the_keys_that_downstream_users_know() -> None:
    state: Any = state_of(WALKS[0])
    assert [*state] == ["sigma", "mu", "ts", "regime_probs", "features", "windows", "ts_components"]
    assert [*state["regime_probs"]] == ["trend", "mr", "chop"]
    assert [*state["features"]] == ["dp", "vr", "spike_proxy"]
    assert (state["windows"]) == {
        "returns_n": 299,
        "trend_windows": [64, 128, 256],
        "regime_window": 256,
    }
    assert state["ts_components"] == {"mu_abs": abs(state["mu"]), "sigma_used": state["sigma"]}


def test_the_state_holds_plain_python_numbers_only() -> None:
    assert {type(leaf) for leaf in leaves(state_of(WALKS[0]))} == {float, int}


def test_below_the_minimum_length_there_is_no_state_and_no_error() -> None:
    calculation = MarketState()
    assert calculation.minimum_length == 257
    assert calculation.get_state("BTCUSDT", []) is None
    assert calculation.get_state("BTCUSDT", WALKS[0, :256]) is None
    assert calculation.get_state("BTCUSDT", WALKS[0, :257]) is not None
    assert calculation.get_states(WALKS[:, :256]) == [None] * 4


def test_the_minimum_length_follows_theta() -> None:
    theta = {"vol": {"window": 9}, "trend": {"windows": [3], "weights": [1]}}
    calculation = MarketState(theta | {"regime": {"window": 12}})
    assert calculation.minimum_length == 13
    assert calculation.get_state("BTCUSDT", WALKS[0, :12]) is None
    assert calculation.get_state("BTCUSDT", WALKS[0, :13]) is not None


def test_only_the_last_minimum_length_prices_count() -> None:
    long, short = state_of(WALKS[0]), state_of(WALKS[0, -257:])
    assert (long["windows"]["returns_n"], short["windows"]["returns_n"]) == (299, 256)
    short["windows"]["returns_n"] = 299
    assert bits(short) == bits(long)


def test_a_list_an_integer_array_and_a_tuple_of_the_same_prices_give_the_same_state() -> None:
    whole = np.rint(WALKS[0] * 100)
    forms = [whole.tolist(), tuple(whole.tolist()), whole.astype(np.int64), whole]
    assert {bits(state_of(whole))} == {bits(state_of(prices)) for prices in forms}


def test_a_batch_gives_the_same_states_as_each_window_alone() -> None:
    theta = {"trend": {"method": "ols"}}
    expected = [state_of(row, theta) for row in WALKS]
    assert bits({"states": market_states(WALKS, theta)}) == bits({"states": expected})
    assert market_states(np.empty((0, 300))) == []


@pytest.mark.parametrize("method", ["theil_sen", "ols"])
def test_rows_are_the_numbers_of_the_states_in_the_order_of_their_names(method: str) -> None:
    calculation = MarketState({"trend": {"method": method}})
    rows = calculation.rows(WALKS)
    assert rows is not None
    for row, state in zip(rows.tolist(), calculation.get_states(WALKS), strict=True):
        assert state is not None
        probs = {f"p_{name}": p for name, p in state["regime_probs"].items()}
        own = {"sigma": state["sigma"], "mu": state["mu"], "ts": state["ts"]}
        assert own | probs | state["features"] == dict(zip(NAMES, row, strict=True))
    assert calculation.rows(WALKS[:, :256]) is None


def test_a_bad_price_has_no_rows() -> None:
    prices = WALKS.copy()
    prices[1, 0] = -1.0
    with pytest.raises(ValueError, match=r"windows: found -1.0 at index \(1, 0\)"):
        MarketState().rows(prices)


def test_a_calculation_does_not_change_the_prices_it_is_given() -> None:
    prices = WALKS.copy()
    market_states(prices)
    assert prices.tolist() == WALKS.tolist()


def test_states_share_nothing_with_each_other_or_with_theta() -> None:
    calculation = MarketState()
    for state in calculation.get_states(WALKS[:2]):
        assert state is not None
        state["windows"]["trend_windows"].append(1)
    assert calculation.theta["trend"]["windows"] == [64, 128, 256]
    assert DEFAULT_THETA["trend"]["windows"] == [64, 128, 256]


def test_theta_is_the_merged_one_and_belongs_to_one_calculation() -> None:
    overrides = {"vol": {"window": 100}}
    first, second = MarketState(overrides), MarketState(overrides)
    first.theta["vol"]["window"] = 3
    assert second.theta["vol"]["window"] == 100
    assert overrides == {"vol": {"window": 100}}
    assert MarketState().theta == marketstate.core.theta.DEFAULT_THETA
    assert marketstate.core.theta.DEFAULT_THETA is marketstate.core.state.DEFAULT_THETA


def test_a_merged_theta_is_taken_as_it_is() -> None:
    theta = marketstate.core.theta.merged_theta({"trend": {"method": "ols"}})
    calculation = MarketState.of_merged(theta)
    assert calculation.theta is theta
    expected = MarketState({"trend": {"method": "ols"}}).get_states(WALKS)
    assert bits({"states": calculation.get_states(WALKS)}) == bits({"states": expected})


def test_an_impossible_theta_is_refused_before_any_calculation() -> None:
    with pytest.raises(ThetaError, match=r"vol\.ewma_lambda"):
        MarketState({"vol": {"ewma_lambda": 1.5}})
    with pytest.raises(ThetaError, match=r"vol\.ewma_lambda"):
        market_states(WALKS, {"vol": {"ewma_lambda": 1.5}})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("length", [3, 300])
def test_a_price_that_is_not_finite_and_positive_is_refused_with_symbol_and_index(
    value: float, length: int
) -> None:
    prices = WALKS[0, :length].tolist()
    prices[2] = value
    with pytest.raises(ValueError, match="every price") as refusal:
        MarketState().get_state("ETHUSDT", prices)
    assert (
        str(refusal.value)
        == f"prices of ETHUSDT: found {value} at index 2; every price must be finite and above 0"
    )


def test_a_bad_price_in_a_batch_is_refused_with_row_and_column() -> None:
    prices = WALKS.copy()
    prices[3, 299] = prices[2, 7] = np.nan
    with pytest.raises(ValueError, match="every price") as refusal:
        market_states(prices)
    assert str(refusal.value) == (
        "windows: found nan at index (2, 7); every price must be finite and above 0"
    )


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        (WALKS, r"prices of X: found an array of shape \(4, 300\); give \(N,\)"),
        (100.0, r"prices of X: found an array of shape \(\); give \(N,\)"),
        (["1.5", "2.5"], "prices of X: found values of type <U3; give numbers"),
        ([1.0, None], "prices of X: found values of type object; give numbers"),
        ([True, True], "prices of X: found values of type bool; give numbers"),
        ([[1.0], [1.0, 2.0]], "prices of X: .*inhomogeneous"),
        ([1 + 2j], "prices of X: found values of type complex128; give numbers"),
    ],
)
def test_what_is_not_a_row_of_numbers_is_refused(prices: Any, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        MarketState().get_state("X", prices)


def test_a_single_row_is_refused_where_a_batch_is_needed() -> None:
    with pytest.raises(ValueError, match=r"windows: found an array of shape \(300,\); give \(S, N"):
        market_states(WALKS[0])


@pytest.mark.parametrize("method", ["theil_sen", "ols", "huber"])
def test_flat_prices_have_a_finite_state(method: str) -> None:
    state = state_of([42.0] * 257, {"trend": {"method": method}})
    assert (state["sigma"], state["mu"], state["ts"]) == (1e-6, 0.0, 0.0)
    assert state["features"] == {"dp": 1.0, "vr": 0.0, "spike_proxy": 0.0}
    assert [*state["regime_probs"].values()] == pytest.approx([1 / 3] * 3)


def test_the_smallest_and_largest_prices_and_parameters_give_finite_numbers() -> None:
    prices = [5e-324, 1.7976931348623157e308, 5e-324, 1.7e308]
    theta = {
        "eps": 1e-100,
        "vol": {"window": 1, "sigma_floor": 1e-100, "spike_scale": 1e-100, "spike_center": -1e100},
        "trend": {"windows": [2], "weights": [5e-324]},
        "regime": {
            "window": 3,
            "vr_k": 2,
            "softmax_temp": 1e-100,
            "score": {f"{term}{i}": 1e100 for term in "abc" for i in (1, 2, 3)},
        },
    }
    assert all(np.isfinite(leaf) for leaf in [*leaves(state_of(prices, theta))][:9])


def test_importing_the_calculation_loads_numpy_and_no_scipy() -> None:
    """scipy would cost every worker about 40 MB of memory that only the huber method needs."""
    program = (
        "import marketstate.core.state, sys; print(sorted(m for m in sys.modules if 'scipy' in m))"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert child.stdout == "[]\n"
