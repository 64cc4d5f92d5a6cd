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


def of_candles(candles: Iterable[Candle], theta: Theta, last: int) -> dict[str, Series]:
    """The states after the `last` closes of each symbol that has enough closes.

    As in the worker, candles that are not closed or not later than the previous one are ignored.
    """
    market_state = MarketState.of_merged(theta)
    needed = market_state.minimum_length
    kept: dict[str, deque[Candle]] = defaultdict(lambda: deque(maxlen=last + needed - 1))
    for candle in candles:
        closes = kept[candle.symbol]
        if candle.is_closed and (not closes or candle.close_time > closes[-1].close_time):
            closes.append(candle)
    return {
        symbol: _calculated(list(found), market_state)
        for symbol, found in kept.items()
        if len(found) >= needed
    }


def _calculated(candles: list[Candle], market_state: MarketState) -> Series:
    needed = market_state.minimum_length
    closes = np.array([candle.close for candle in candles])
    windows = np.lib.stride_tricks.sliding_window_view(closes, needed)
    states = [state for state in market_state.get_states(windows) if state is not None]
    ends = candles[needed - 1 :]
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
