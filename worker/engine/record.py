"""Builds the record of a state: `worker` publishes it, and `verify` compares with it."""

from collections.abc import Sequence

from marketstate.core.regime import most_probable
from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import (
    Features,
    MarketStateRecord,
    RegimeProbs,
    TsComponents,
    Windows,
)
from marketstate.worker.settings import Settings


def regime_in(numbers: Sequence[float]) -> str:
    """The regime of a state; `numbers` as `record_of` takes them."""
    _, _, _, p_trend, p_mr, p_chop, _, _, _ = numbers
    return most_probable(p_trend, p_mr, p_chop)


def record_of(
    settings: Settings,
    candle: Candle,
    numbers: Sequence[float],
    *,
    regime: str,
    buffer_size: int,
    missing: int,
    reason: str,
) -> MarketStateRecord:
    """The record of the state after `candle` with `buffer_size` closes available, and with so many
    candles missing among those that it was calculated from.

    `numbers` are the state, a row of `MarketState.rows`. A worker makes a record for every close it
    publishes, so it takes them from the row: the dicts of `MarketState.get_state`, and their way
    into a record, would cost as much again as the calculation.
    """
    sigma, mu, ts, p_trend, p_mr, p_chop, dp, vr, spike_proxy = numbers
    theta = settings.theta
    return MarketStateRecord(
        symbol=candle.symbol,
        interval=settings.candle_interval,
        source=settings.source,
        close_time_ms=candle.close_time,
        close=candle.close,
        sigma=sigma,
        mu=mu,
        ts=ts,
        regime=regime,
        regime_probs=RegimeProbs(p_trend, p_mr, p_chop),
        features=Features(dp, vr, spike_proxy),
        # The state was calculated only from as many closes as theta needs, of those available.
        windows=Windows(buffer_size - 1, theta["trend"]["windows"], theta["regime"]["window"]),
        ts_components=TsComponents(mu_abs=abs(mu), sigma_used=sigma),
        buffer_size=buffer_size,
        theta_hash=settings.theta_hash,
        reason=reason,
        missing=missing,
    )
