"""The states to plot: published ones, and those calculated from closes."""

import math
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from marketstate.core.state import MarketState
from marketstate.core.theta import merged_theta
from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.plot.series import (
    NUMBERS,
    _Kept,
    of_candles,
    of_records,
    quote_currency,
)
from tests.support.candles import NEEDED, made_candles
from tests.support.records import make_record
from tests.support.replaying import SMALL

CANDLES = made_candles(("AAA", "BBB"), 300)
THETA = merged_theta()
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
THROUGHOUT = "chop throughout: see marketstate calibrate"


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


def test_records_that_were_published_again_count_once() -> None:
    """As by a group that was removed and began again."""
    records = [make_record("AAA", i, close=100.0 + i) for i in (0, 1, 2, 1, 3)]
    records[3] = msgspec.structs.replace(records[3], close=50.0)
    series = of_records(records, last=None)["AAA"]
    assert series.numbers["close"].tolist() == [100, 50, 102, 103]
    assert (np.diff(series.times_ms) == 60_000).all()


def test_how_often_a_regime_changed_is_told() -> None:
    many = {
        "AAA": ("chop", "chop"),
        "BBB": ("chop", "mr"),
        "CCC": ("mr",),
        "DDD": ("mr", "trend", "mr"),
    }
    records = (
        make_record(symbol, i, regime)
        for symbol, regimes in many.items()
        for i, regime in enumerate(regimes)
    )
    found = of_records(records, last=None)
    changed = [["the regime changes once"], [], ["the regime changes 2 times"]]
    assert [list(found[symbol].remarks()) for symbol in many] == [[THROUGHOUT], *changed]


@pytest.mark.parametrize(
    ("interval", "period", "factor"),
    [
        ("1m", "candle", 1.0),
        ("1m", "hour", math.sqrt(60)),
        ("1m", "day", math.sqrt(1_440)),
        ("1h", "hour", 1.0),
        ("1d", "hour", math.sqrt(1 / 24)),
    ],
)
def test_sigma_for_another_time_grows_with_its_root(
    interval: str, period: str, factor: float
) -> None:
    records = [msgspec.structs.replace(make_record("AAA", i), interval=interval) for i in range(3)]
    series = of_records(records, last=None)["AAA"]
    scaled = series.with_sigma_per(period)
    assert scaled.sigma_per == period
    assert scaled.numbers["sigma"] == pytest.approx(series.numbers["sigma"] * factor, rel=1e-15)
    for name in NUMBERS:
        if name != "sigma":
            assert (scaled.numbers[name] == series.numbers[name]).all()


def test_states_of_synthetic_prices_are_counted() -> None:
    real = [make_record("AAA", i) for i in range(3)]
    invented = [msgspec.structs.replace(make_record("AAA", i), source="synthetic") for i in (3, 4)]
    assert of_records(real, last=9)["AAA"].synthetic == 0
    assert of_records([*real, *invented], last=9)["AAA"].synthetic == 2
    assert of_records([*real, *invented], last=1)["AAA"].synthetic == 1


def test_each_close_has_the_state_that_the_calculation_gives() -> None:
    found = of_candles(CANDLES, THETA, last=10, starts_over=never)
    for symbol in ("AAA", "BBB"):
        closes = [one.close for one in of_symbol(symbol)]
        assert len(found[symbol].times_ms) == 10
        for i, end in enumerate(range(291, 301)):
            state: Any = MarketState().get_state(symbol, closes[:end])
            expected = [
                closes[end - 1],
                *(state["sigma"], state["mu"], state["ts"]),
                *state["regime_probs"].values(),
                *state["features"].values(),
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


def test_missing_candles_are_told_for_the_windows_that_lack_them() -> None:
    closes = of_symbol("AAA")
    found = of_candles([*closes[:10], *closes[13:]], THETA, last=999, starts_over=never)["AAA"]
    assert found.missing.tolist() == [3] * 10 + [0] * (300 - 3 - NEEDED + 1 - 10)
    assert list(found.remarks()) == [
        "candles are missing in the windows of 10 of 41 states (up to 3)",
        THROUGHOUT,
    ]
    whole = of_candles(closes, THETA, last=999, starts_over=never)["AAA"]
    assert not whole.missing.any()
    assert list(whole.remarks()) == [THROUGHOUT]
    last = of_candles([*closes[:280], *closes[281:]], THETA, last=5, starts_over=never)["AAA"]
    assert list(last.remarks()) == [
        "candles are missing in the windows of all states (up to 1)",
        THROUGHOUT,
    ]


class Counting(MarketStateRecord, frozen=True, kw_only=True):
    """A record that counts what is missing in its window."""

    missing: int = 0


def test_what_published_states_count_as_missing_is_told() -> None:
    plain = [make_record("AAA", i) for i in range(4)]
    counting = [
        Counting(**{name: getattr(one, name) for name in one.__struct_fields__} | {"missing": i})
        for i, one in enumerate(plain)
    ]
    found = of_records(counting, last=3)["AAA"]
    assert found.missing.tolist() == [1, 2, 3]
    assert list(found.remarks()) == [
        "candles are missing in the windows of all states (up to 3)",
        "2 gaps of 2 candles",
        THROUGHOUT,
    ]


def test_closed_hours_are_left_out_and_not_called_missing() -> None:
    candles = [
        msgspec.structs.replace(one, interval="1h", close_time=DAY_MS * (20_000 + day) + hour)
        for (day, hour), one in zip(
            ((i // 10, (i % 10 + 1) * HOUR_MS - 1) for i in range(300)),
            of_symbol("AAA"),
            strict=True,
        )
    ]
    lost = [*candles[:283], *candles[285:]]
    found = of_candles(lost, THETA, last=999, starts_over=never)["AAA"]
    assert list(found.remarks()) == [
        "candles are missing in the windows of 15 of 42 states (up to 2)",
        "1 gap of 2 candles",
        "closed hours left out",
        THROUGHOUT,
    ]
    drawn = found.with_gaps()
    assert np.count_nonzero(np.isnan(drawn.numbers["close"])) == 1, "only the lost candles"


def test_published_states_of_a_market_with_closed_hours_lack_only_lost_candles() -> None:
    records = [
        msgspec.structs.replace(
            make_record("AAA", i),
            interval="1h",
            close_time_ms=DAY_MS * (20_000 + i // 10) + (i % 10 + 1) * HOUR_MS - 1,
        )
        for i in range(100)
        if i not in (52, 53)
    ]
    found = of_records(records, last=999)["AAA"]
    assert found.missing.tolist() == [0] * 52 + [2] * 46


@pytest.mark.parametrize(
    ("symbol", "unit"),
    [
        *(("BTCUSDT", "USDT"), ("1000PEPEUSDC", "USDC"), ("BTC-USD", "USD"), ("ETH/BTC", "BTC")),
        *((name, "quote currency") for name in ("AAPL", "USDT", "CBETH", "BTC-1", "x-usd")),
    ],
)
def test_the_unit_of_the_price_is_named_where_the_symbol_leaves_no_doubt(
    symbol: str, unit: str
) -> None:
    assert quote_currency(symbol) == unit


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


@pytest.mark.parametrize("last", [1, 2, 7, 40])
def test_the_last_states_are_those_before_a_window_that_still_fills(last: int) -> None:
    theta, closes = merged_theta(SMALL), of_symbol("AAA")[:100]
    random = Random(last)
    for _ in range(30):
        began = {one.close_time for one in random.sample(closes, random.randint(0, 8))}

        def starts_over(_last_ms: int, close_ms: int, began: set[int] = began) -> bool:
            return close_ms in began

        every = of_candles(closes, theta, None, starts_over)["AAA"]
        found = of_candles(closes, theta, last, starts_over)["AAA"]
        assert found.times_ms.tolist() == every.times_ms.tolist()[-last:]
        for name in NUMBERS:
            assert found.numbers[name].tolist() == every.numbers[name].tolist()[-last:]


def test_closes_of_which_no_state_comes_are_not_kept() -> None:
    """However long a file is in which every window starts over before it is full."""
    kept, closes = _Kept(NEEDED, last=1), of_symbol("AAA")
    most = 0
    for number, close in enumerate(closes * 3):
        kept.add(close, lambda _last, _next, number=number: number % 100 == 0)  # type: ignore[misc]
        most = max(most, len(kept.closes))
    assert most == 100
