"""Synthetic candles: the same in every process, with the regime of their symbol's name."""

import math
import os
import subprocess
import sys

import pytest

from marketstate.core.regime import regime_of
from marketstate.core.state import MarketState
from marketstate.schemas.candle import decode_candle, encode_envelope
from marketstate.worker.engine.synthetic import CANDLES_AT_START, SYMBOLS, price, synthetic_candle

NOW_MS = 1_790_000_000_000
INTERVALS = {"1s": 1_000, "1m": 60_000, "1h": 3_600_000}
REGIMES = {
    "BTCUSDT": "trend",
    "ETHUSDT": "mr",
    "SOLUSDT": "chop",
    "BNBUSDT": "chop",
    "XRPUSDT": "chop",
}


def last_close_ms(interval_ms: int, ago: int) -> int:
    """The close time of the candle that closed `ago` intervals before now."""
    return (NOW_MS // interval_ms - ago) * interval_ms - 1


def window(symbol: str, end_ms: int, interval_ms: int) -> list[float]:
    return [
        price(symbol, end_ms - back * interval_ms, interval_ms)
        for back in reversed(range(CANDLES_AT_START))
    ]


def test_every_symbol_has_an_expected_regime() -> None:
    assert set(SYMBOLS) == set(REGIMES)


@pytest.mark.parametrize("interval_ms", INTERVALS.values(), ids=INTERVALS)
@pytest.mark.parametrize(("symbol", "regime"), REGIMES.items())
def test_a_full_window_has_the_regime_of_its_symbol(
    symbol: str, regime: str, interval_ms: int
) -> None:
    # Steps of 997, a prime, cover every part of the waves, blocks and legs.
    windows = [
        window(symbol, last_close_ms(interval_ms, ago), interval_ms)
        for ago in range(0, 997 * 120, 997)
    ]
    states = MarketState().get_states(windows)
    found = [regime_of(state["regime_probs"]) for state in states if state is not None]
    assert found == [regime] * 120


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_prices_are_finite_and_above_zero(symbol: str) -> None:
    for interval_ms in INTERVALS.values():
        for ago in range(0, 400_000, 1_009):
            found = price(symbol, last_close_ms(interval_ms, ago), interval_ms)
            assert math.isfinite(found)
            assert found > 0


PROGRAM = """
from marketstate.worker.engine.synthetic import SYMBOLS, price
print([price(symbol, 1_790_000_039_999 + i * 60_000, 60_000) for symbol in SYMBOLS
       for i in (0, 1, 2, 5_000)])
"""


def test_another_process_gives_the_same_prices() -> None:
    """G2: every worker feeds the same candle, however often."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    expected = [
        price(symbol, 1_790_000_039_999 + i * 60_000, 60_000)
        for symbol in SYMBOLS
        for i in (0, 1, 2, 5_000)
    ]
    assert outputs == [f"{expected}\n"] * 2


def test_the_order_of_calls_does_not_matter() -> None:
    times_ms = [last_close_ms(60_000, ago) for ago in range(0, 5_000, 7)]
    forwards = [price("SOLUSDT", time_ms, 60_000) for time_ms in times_ms]
    backwards = [price("SOLUSDT", time_ms, 60_000) for time_ms in reversed(times_ms)]
    assert forwards == backwards[::-1]


def test_a_candle_starts_where_the_previous_one_ended() -> None:
    close_ms = last_close_ms(60_000, 5)
    before = synthetic_candle("BTCUSDT", close_ms - 60_000, "1m", 60_000)
    candle = synthetic_candle("BTCUSDT", close_ms, "1m", 60_000)
    assert candle.open == before.close
    assert (candle.close_time, candle.open_time) == (close_ms, close_ms - 59_999)
    assert min(candle.close, before.close) == candle.low
    assert max(candle.close, before.close) == candle.high


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_synthetic_candle_can_be_encoded_and_decoded(symbol: str) -> None:
    candle = synthetic_candle(symbol, last_close_ms(60_000, 0), "1m", 60_000)
    fields = {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in encode_envelope(candle, source="synthetic").items()
    }
    assert decode_candle(fields, NOW_MS) == candle
