"""The record of a state: what is published of it, and what `verify` expects to find."""

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
    reason: str,
) -> MarketStateRecord:
    """What is published of `state`, that after `candle` with `buffer_size` closes at hand.

    The names in a state are those of the record, so its numbers are taken over as they are.
    """
    return msgspec.convert(
        {
            **state,
            # The state was calculated from the last closes alone, as many as theta needs.
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
        },
        MarketStateRecord,
    )
