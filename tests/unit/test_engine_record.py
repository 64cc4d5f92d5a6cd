"""The record of a state: all numbers of the state, and the data of the close."""

import msgspec
import numpy as np

from marketstate.core.regime import regime_of
from marketstate.core.state import MarketState, State
from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.engine.record import record_of, regime_in, template_of
from tests.support.feeding import NEEDED, SMALL_THETA, T0, small_settings

CLOSES = 100.0 + np.random.default_rng(5).normal(0, 1, NEEDED)
CANDLE = Candle(symbol="BTCUSDT", close=CLOSES[-1].item(), close_time=T0)


def state() -> State:
    found = MarketState.of_merged(SMALL_THETA).get_state("BTCUSDT", CLOSES)
    assert found is not None
    return found


def numbers() -> list[float]:
    rows = MarketState.of_merged(SMALL_THETA).rows(CLOSES[np.newaxis])
    assert rows is not None
    found: list[float] = rows[0].tolist()
    return found


def record(reason: str = "interval") -> MarketStateRecord:
    return record_of(
        template_of(small_settings()),
        CANDLE,
        numbers(),
        regime=regime_in(numbers()),
        buffer_size=NEEDED,
        missing=3,
        reason=reason,
    )


def test_a_record_has_every_number_of_its_state_under_the_same_name() -> None:
    """core and schemas both name the numbers; neither imports the other."""
    found = msgspec.to_builtins(record())
    assert found["regime"] == regime_of(state()["regime_probs"])
    assert {name: found[name] for name in state()} == state()


def test_a_record_says_which_close_it_follows_and_why_it_was_published() -> None:
    found = record("regime_change")
    assert (found.symbol, found.close, found.close_time_ms) == ("BTCUSDT", CLOSES[-1], T0)
    assert (found.interval, found.source, found.reason) == ("1m", "candles", "regime_change")
    assert found.missing == 3
    assert found.theta_hash == small_settings().theta_hash


def test_the_number_of_returns_follows_from_the_number_of_closes() -> None:
    template = template_of(small_settings())
    for closes in (12, template.buffer_size):
        found = record_of(
            template,
            CANDLE,
            numbers(),
            regime="chop",
            buffer_size=closes,
            missing=0,
            reason="interval",
        )
        assert (found.buffer_size, found.windows.returns_n) == (closes, closes - 1)
