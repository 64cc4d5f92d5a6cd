"""The states to plot: published ones, and those calculated from closes."""

from typing import Any

import numpy as np
import pytest

from core.state import MarketState
from core.theta import merged_theta
from schemas.candle import Candle
from tests.support.candles import NEEDED, made_candles
from tests.support.records import make_record
from worker.commands.plot.series import NUMBERS, of_candles, of_records

CANDLES = made_candles(("AAA", "BBB"), 300)
THETA = merged_theta()


def never(_last_ms: int, _close_time_ms: int) -> bool:
    return False


def of_symbol(symbol: str) -> list[Candle]:
    return [one for one in CANDLES if one.symbol == symbol]


def test_records_become_rows_in_order_and_only_the_last_are_kept() -> None:
    records = [make_record("AAA", i, ("trend", "mr")[i % 2], close=100.0 + i) for i in range(5)]
    series = of_records([*records, make_record("BBB", 0)], last=3)["AAA"]
    assert series.numbers["close"].tolist() == [102, 103, 104]
    assert series.regime.tolist() == ["trend", "mr", "trend"]
    assert series.times_ms.tolist() == [one.close_time_ms for one in records[2:]]
    assert series.numbers["trend"].tolist() == [0.6, 0.2, 0.6]


def test_each_close_has_the_state_that_the_calculation_gives() -> None:
    found = of_candles(CANDLES, THETA, last=10, starts_over=never)
    for symbol in ("AAA", "BBB"):
        closes = [one.close for one in of_symbol(symbol)]
        assert len(found[symbol].times_ms) == 10
        for i, end in enumerate(range(291, 301)):
            state: Any = MarketState().get_state(symbol, closes[:end])
            expected = [
                closes[end - 1],
                state["sigma"],
                state["ts"],
                *state["regime_probs"].values(),
            ]
            assert [found[symbol].numbers[name][i] for name in NUMBERS] == expected
        assert of_symbol(symbol)[-1].close_time == found[symbol].times_ms[-1]


def test_every_close_from_the_257th_on_has_a_state_and_fewer_have_none() -> None:
    closes = of_symbol("AAA")
    assert (
        len(of_candles(closes, THETA, last=10_000, starts_over=never)["AAA"].times_ms)
        == 300 - NEEDED + 1
    )
    assert of_candles(closes[: NEEDED - 1], THETA, last=10, starts_over=never) == {}


def test_states_begin_again_where_a_window_starts_over() -> None:
    closes = of_symbol("AAA")
    began_ms = closes[20].close_time
    found = of_candles(
        closes, THETA, last=10_000, starts_over=lambda _last, close: close == began_ms
    )["AAA"]
    expected = of_candles(closes[20:], THETA, last=10_000, starts_over=never)["AAA"]
    assert found.times_ms.tolist() == expected.times_ms.tolist()
    assert found.numbers["sigma"].tolist() == expected.numbers["sigma"].tolist()
    late_ms = closes[100].close_time
    assert of_candles(closes, THETA, 10, lambda _last, close: close == late_ms) == {}


@pytest.mark.parametrize("count", [1, 2, 10])
def test_without_a_gap_nothing_changes(count: int) -> None:
    series = of_records((make_record("AAA", i) for i in range(count)), last=100)["AAA"]
    assert series.with_gaps().times_ms.tolist() == series.times_ms.tolist()


def test_lines_break_where_states_are_missing() -> None:
    numbers = (0, 1, 2, 5, 6, 100)
    series = of_records((make_record("AAA", i) for i in numbers), last=100)["AAA"].with_gaps()
    assert np.isnan(series.numbers["close"]).tolist() == [
        False,
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert series.regime.tolist() == ["chop"] * 3 + [""] + ["chop"] * 2 + [""] + ["chop"]
    steps = np.diff(series.times_ms) // 60_000
    assert steps.tolist() == [1, 1, 1, 2, 1, 1, 93]
