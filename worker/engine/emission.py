"""When a state is published, and what is calculated for it.

Pure, like the pipeline. By the candles' own clock, what is published depends on close times alone.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from marketstate.core.state import MarketState
from marketstate.schemas.candle import Candle
from marketstate.schemas.sequence import missing_within
from marketstate.worker.engine.changes import Changes, SymbolChange
from marketstate.worker.engine.mark import Mark
from marketstate.worker.engine.record import record_of, regime_in, template_of
from marketstate.worker.settings import Settings


class Close(msgspec.Struct, frozen=True, gc=False):
    """A close after which there is a state to publish, if it is due."""

    candle: Candle
    change: SymbolChange
    length: int
    """Closes up to this one."""


class Emission:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.interval = settings.candle_interval
        self._market_state = MarketState.of_merged(settings.theta)
        self.needed = self._market_state.minimum_length
        self._interval_ms = settings.candle_interval_ms
        self._publish_interval_ms = settings.publish_interval_ms
        # Of two feeds, one may give a close time a millisecond earlier than the other.
        self._due_after_ms = settings.state_step_ms - self._interval_ms // 2
        self._by_wall_clock = settings.rate_clock == "wall"
        self._on_regime_change = settings.emit_on_regime_change
        self._marks_are_long = settings.marks_are_long
        self._counter = f"emitted{settings.suffix}"
        self._template = template_of(settings)

    def is_due(self, mark: Mark, close_time_ms: int, now_ms: int) -> bool:
        if not self._by_wall_clock:
            return close_time_ms - mark.close_time_ms >= self._due_after_ms
        # A time in the future (a clock set back, a failover) would block the symbol for long, so
        # only the distance counts.
        return abs(now_ms - mark.published_ms) >= self._publish_interval_ms

    def emit(self, closes: Sequence[Close], changes: Changes, now_ms: int) -> None:
        """Publish the states that are due; each moves the mark of its symbol.

        By the wall clock at most one state per symbol can be due, and the newest wins.
        """
        if self._by_wall_clock:
            closes = list({close.candle.symbol: close for close in closes}.values())
        if not self._on_regime_change:
            # The states of the others are not needed, so they are not calculated.
            closes = self._take_due(closes, now_ms)
        earlier_n = len(changes.records)
        for close, numbers in zip(closes, self._states(closes), strict=True):
            regime = regime_in(numbers)
            reason = self._reason(close, regime, now_ms) if self._on_regime_change else "interval"
            if reason is None:
                continue
            if self._marks_are_long:
                close.change.mark = Mark(close.candle.close_time, regime)
            changes.records.append(
                record_of(
                    self._template,
                    close.candle,
                    numbers,
                    regime=regime,
                    buffer_size=min(close.length, self._settings.window_size),
                    missing=self._missing_before(close),
                    reason=reason,
                )
            )
        if published_n := len(changes.records) - earlier_n:
            changes.counters[self._counter] += published_n

    def _missing_before(self, close: Close) -> int:
        """Candles that are missing among the closes that a state is calculated from."""
        change, first = close.change, close.length - self.needed
        first_ms = (
            change.before.close_time_ms(first)
            if first < change.kept_n
            else change.close_times_ms[first - change.kept_n]
        )
        last_ms = close.candle.close_time
        return missing_within(first_ms, last_ms, self.needed, self._interval_ms)

    def _take_due(self, closes: Iterable[Close], now_ms: int) -> list[Close]:
        """Those that are due by the interval. Each moves the mark: the next counts from there."""
        due = []
        for close in closes:
            close_time_ms = close.candle.close_time
            if self.is_due(close.change.mark, close_time_ms, now_ms):
                close.change.mark = Mark(close_time_ms)
                due.append(close)
        return due

    def _reason(self, close: Close, regime: str, now_ms: int) -> str | None:
        """Why the state after this close is published; None if it is not."""
        mark = close.change.mark
        if self.is_due(mark, close.candle.close_time, now_ms):
            return "interval"
        return None if mark.regime in ("", regime) else "regime_change"

    def _states(self, closes: Sequence[Close]) -> list[list[float]]:
        """The numbers of the states after these closes, as in `MarketState.rows`: calculated many
        at a time, to the same bits as one by one. A state depends only on as many of the last
        closes as theta needs, so windows of any length go into one array.
        """
        if not closes:
            return []
        prices: list[Sequence[float] | NDArray[np.float64]] = []
        length = 0
        # Of each change, where the window after no close would start among all prices. By identity:
        # a symbol whose window starts over has two changes.
        offsets: dict[int, int] = {}
        for change in {id(close.change): close.change for close in closes}.values():
            kept = change.before.closes()[-self.needed :]
            offsets[id(change)] = length + len(kept) - change.kept_n - self.needed
            prices += (kept, change.closes)
            length += len(kept) + len(change.closes)
        starts = np.array([offsets[id(close.change)] + close.length for close in closes])
        # Those of one change follow each other: the kernel takes the logarithms of what two
        # neighbouring windows share only once.
        places = np.argsort(starts, kind="stable")
        windows = sliding_window_view(np.concatenate(prices), self.needed)[starts[places]]
        states = self._market_state.rows(windows)
        assert states is not None, "each has as many closes as theta needs"
        in_order = np.empty_like(states)
        in_order[places] = states
        # Plain Python floats, as records have them.
        found: list[list[float]] = in_order.tolist()
        return found
