"""The states to plot: for each symbol, arrays over time.

They are published states, or are calculated here from closes, as a worker would.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.regime import regime_of
from core.state import MarketState
from core.theta import Theta
from schemas.candle import Candle
from schemas.market_state import MarketStateRecord
from worker.commands.starting_over import StartsOver

NUMBERS: Final = ("close", "sigma", "ts", "trend", "mr", "chop")

# A step that is longer than this many usual steps is a gap.
_GAP_IN_STEPS: Final = 2.5


class Series(NamedTuple):
    """One row per state, by close time."""

    symbol: str
    interval: str
    times_ms: NDArray[np.int64]
    regime: NDArray[np.str_]
    numbers: dict[str, NDArray[np.float64]]
    """The keys are the names in `NUMBERS`."""

    @property
    def step_ms(self) -> int:
        """The usual time between two states."""
        return int(np.median(np.diff(self.times_ms))) if len(self.times_ms) > 1 else 60_000

    def with_gaps(self) -> "Series":
        """With an empty row in each gap, where lines break."""
        steps = np.diff(self.times_ms)
        (before,) = np.nonzero(steps > _GAP_IN_STEPS * self.step_ms)
        after = before + 1
        return self._replace(
            times_ms=np.insert(self.times_ms, after, self.times_ms[before] + self.step_ms),
            regime=np.insert(self.regime, after, ""),
            numbers={
                name: np.insert(values, after, np.nan) for name, values in self.numbers.items()
            },
        )


class _Close(NamedTuple):
    candle: Candle
    number: int
    """Of the closes since the window started over, from 1."""


def of_records(records: Iterable[MarketStateRecord], last: int) -> dict[str, Series]:
    """The `last` states of each symbol, by symbol."""
    kept: dict[str, deque[MarketStateRecord]] = defaultdict(lambda: deque(maxlen=last))
    for record in records:
        kept[record.symbol].append(record)
    return {symbol: _series(symbol, list(found)) for symbol, found in kept.items()}


def _series(symbol: str, records: Sequence[MarketStateRecord]) -> Series:
    rows = [
        (record.close, record.sigma, record.ts, *msgspec.structs.astuple(record.regime_probs))
        for record in records
    ]
    return Series(
        symbol,
        records[-1].interval,
        np.array([record.close_time_ms for record in records], np.int64),
        np.array([record.regime for record in records]),
        _columns(rows),
    )


def of_candles(
    candles: Iterable[Candle], theta: Theta, last: int, starts_over: StartsOver
) -> dict[str, Series]:
    """The states after the `last` closes of each symbol that has enough closes since its window
    started over. The candles are closed, and those of a symbol come in order.
    """
    market_state = MarketState.of_merged(theta)
    needed = market_state.minimum_length
    kept: dict[str, deque[_Close]] = defaultdict(lambda: deque(maxlen=last + needed - 1))
    for candle in candles:
        before = kept[candle.symbol]
        goes_on = before and not starts_over(before[-1].candle.close_time, candle.close_time)
        before.append(_Close(candle, before[-1].number + 1 if goes_on else 1))
    return {
        symbol: _calculated(list(found), market_state)
        for symbol, found in kept.items()
        if any(close.number >= needed for close in found)
    }


def _calculated(kept: list[_Close], market_state: MarketState) -> Series:
    needed = market_state.minimum_length
    closes = np.array([close.candle.close for close in kept])
    windows = np.lib.stride_tricks.sliding_window_view(closes, needed)
    whole = [i for i, close in enumerate(kept[needed - 1 :]) if close.number >= needed]
    states = [state for state in market_state.get_states(windows[whole]) if state is not None]
    ends = [kept[i + needed - 1].candle for i in whole]
    rows = [
        (end.close, state["sigma"], state["ts"], probs["trend"], probs["mr"], probs["chop"])
        for end, state in zip(ends, states, strict=True)
        for probs in (state["regime_probs"],)
    ]
    return Series(
        ends[0].symbol,
        ends[0].interval or "closed",
        np.array([candle.close_time for candle in ends], np.int64),
        np.array([regime_of(state["regime_probs"]) for state in states]),
        _columns(rows),
    )


def _columns(rows: Sequence[tuple[float, ...]]) -> dict[str, NDArray[np.float64]]:
    return dict(zip(NUMBERS, np.array(rows, np.float64).T, strict=True))
