"""Builds the record of a state: `worker` publishes it, and `verify` compares with it."""

import msgspec

from core.state import State
from schemas.candle import Candle
from schemas.market_state import MarketStateRecord
from worker.settings import Settings


def record_of(
    settings: Settings,
    candle: Candle,
    state: State,
    *,
    regime: str,
    buffer_size: int,
    missing: int,
    reason: str,
) -> MarketStateRecord:
    """The record of `state`, which is the state after `candle` with `buffer_size` closes available,
    and with so many candles missing among those that it was calculated from.

    State and record use the same names, so the numbers are copied unchanged.
    """
    return msgspec.convert(
        {
            **state,
            # The state was calculated only from as many closes as theta needs.
            "windows": {**state["windows"], "returns_n": buffer_size - 1},
            "symbol": candle.symbol,
            "interval": settings.candle_interval,
            "source": settings.source,
            "close_time_ms": candle.close_time,
            "close": candle.close,
            "regime": regime,
            "buffer_size": buffer_size,
            "theta_hash": settings.theta_hash,
            "reason": reason,
            "missing": missing,
        },
        MarketStateRecord,
    )
