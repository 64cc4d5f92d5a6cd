"""Builds the record of a state: `worker` publishes it, and `verify` compares with it."""

from collections.abc import Sequence

from msgspec.structs import replace

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


def template_of(settings: Settings) -> MarketStateRecord:
    """What all records of these settings have in common; the rest says nothing."""
    theta = settings.theta
    return MarketStateRecord(
        symbol="",
        interval=settings.candle_interval,
        source=settings.source,
        close_time_ms=0,
        close=0.0,
        sigma=0.0,
        mu=0.0,
        ts=0.0,
        regime="",
        regime_probs=RegimeProbs(0.0, 0.0, 0.0),
        features=Features(0.0, 0.0, 0.0),
        windows=Windows(
            settings.window_size - 1, theta["trend"]["windows"], theta["regime"]["window"]
        ),
        ts_components=TsComponents(0.0, 0.0),
        buffer_size=settings.window_size,
        theta_hash=settings.theta_hash,
    )


def record_of(
    template: MarketStateRecord,
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
    into a record, would cost as much again as the calculation. And it replaces what differs from
    the template: given more than 15 named arguments, Python takes three times as long for a call.
    """
    sigma, mu, ts, p_trend, p_mr, p_chop, dp, vr, spike_proxy = numbers
    windows = template.windows
    if buffer_size != template.buffer_size:
        # The state was calculated only from as many closes as theta needs, of those available.
        windows = replace(windows, returns_n=buffer_size - 1)
    return replace(
        template,
        symbol=candle.symbol,
        close_time_ms=candle.close_time,
        close=candle.close,
        sigma=sigma,
        mu=mu,
        ts=ts,
        regime=regime,
        regime_probs=RegimeProbs(p_trend, p_mr, p_chop),
        features=Features(dp, vr, spike_proxy),
        windows=windows,
        ts_components=TsComponents(mu_abs=abs(mu), sigma_used=sigma),
        buffer_size=buffer_size,
        reason=reason,
        missing=missing,
    )
