"""From entries to changes: what a batch does to windows, and what is published for it.

Pure: it reads the memory of the shards and returns the changes. They take effect when `commit`
writes them, not before.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import NamedTuple

import numpy as np

from core.regime import regime_of
from core.state import MarketState, State
from core.window import Window
from schemas.candle import Candle, CandleRejected, decode_candle
from schemas.interval import interval_ms
from worker.engine.changes import (
    Changes,
    Damaged,
    Entry,
    History,
    Ignored,
    Lost,
    Memory,
    MemoryOf,
    Reading,
    SymbolChange,
    Unforeseen,
)
from worker.engine.mark import Mark
from worker.engine.record import record_of
from worker.keys import shard_of
from worker.settings import Settings


class _Close(NamedTuple):
    """A close after which there is a state to publish, if it is due."""

    candle: Candle
    change: SymbolChange
    length: int
    """Closes up to this one."""


class Pipeline:
    """Knows the rules by which a candle is applied, ignored or emitted."""

    def __init__(self, settings: Settings, warm_until: tuple[int, int]) -> None:
        """Up to the entry id `warm_until`, candles fill windows and emit nothing."""
        self._settings = settings
        self._wanted = settings.wanted_symbols
        self._market_state = MarketState.of_merged(settings.theta)
        self._warm_until = warm_until
        # Needed for every candle.
        self._needed = self._market_state.minimum_length
        self._interval_ms = settings.candle_interval_ms
        self._publish_interval_ms = settings.publish_interval_ms
        self._by_wall_clock = settings.rate_clock == "wall"
        self._on_regime_change = settings.emit_on_regime_change
        self._max_ahead_ms = settings.max_ahead_ms

    def read(self, entries: Iterable[Entry]) -> list[Reading]:
        """What each entry is, in stream order."""
        in_order = sorted(((entry.order, entry) for entry in entries), key=itemgetter(0))
        return [Reading(entry, order, self._found(entry, order[0])) for order, entry in in_order]

    def advance(
        self,
        readings: Iterable[Reading],
        memory: MemoryOf,
        histories: Mapping[str, History],
        now_ms: int = 0,
    ) -> Changes:
        """What the readings change; `histories` are older closes of symbols without a memory.

        `now_ms` is the time of Redis's clock, for `rate_clock=wall`.
        """
        changes = Changes()
        closes: list[_Close] = []
        lost_windows: list[SymbolChange] = []
        for entry, order, found in readings:
            changes.finished.setdefault(entry.shard, []).append(entry.id)
            match found:
                case Candle(symbol=symbol):
                    change = changes.symbols.get(symbol)
                    if change is None:
                        known = memory(entry.shard, symbol)
                        if isinstance(known, Damaged):
                            changes.reject(entry, f"quarantined: {known.reason}")
                            changes.count("quarantined")
                            continue
                        history = histories.get(symbol, ((), ()))
                        change = self._unchanged(entry.shard, known, history)
                        changes.symbols[symbol] = change
                        if known and known.lost_its_window:
                            lost_windows.append(change)
                    if self._apply(found, change, changes, entry) and (
                        change.length >= self._needed and order > self._warm_until
                    ):
                        closes.append(_Close(found, change, change.length))
                case Ignored():
                    changes.count("ignored")
                case Lost():
                    changes.count("lost", f"{entry} was trimmed before it was finished: lost")
                case CandleRejected():
                    changes.reject(entry, str(found))
                    text = f"{entry} is a dead letter: {found}"
                    if isinstance(found, Unforeseen):
                        changes.errors.append(text)
                    else:
                        changes.warnings.append(("dead", text))
        changes.symbols = {
            symbol: change for symbol, change in changes.symbols.items() if change.closes
        }
        for _ in filter(attrgetter("closes"), lost_windows):
            changes.count("window_lost")
        self._emit(closes, changes, now_ms)
        return changes

    def overdue(
        self, remembered: Iterable[tuple[int, str, Memory]], now_ms: int, most: int
    ) -> Changes:
        """What is due by the wall clock although no candle has come: the newest close of a symbol
        whose interval was not over when that close came. At most `most` symbols at once.
        """
        changes = Changes()
        closes: list[_Close] = []
        for shard, symbol, known in remembered:
            if len(closes) == most:
                break
            window, mark = known.window, known.mark
            if not self._is_wanted(symbol):
                continue
            is_waiting = mark.published_ms and window.last_close_time_ms > mark.close_time_ms
            if is_waiting and len(window) >= self._needed and self._is_due(mark, 0, now_ms):
                newest = Candle(
                    symbol=symbol,
                    close=float(window.closes()[-1]),
                    close_time=window.last_close_time_ms,
                )
                changes.symbols[symbol] = SymbolChange(shard, window, mark)
                changes.finished.setdefault(shard, [])
                closes.append(_Close(newest, changes.symbols[symbol], len(window)))
        self._emit(closes, changes, now_ms)
        return changes

    def _found(self, entry: Entry, entry_ms: int) -> Candle | Ignored | Lost | CandleRejected:
        if not entry.fields:
            return Lost()
        try:
            return self._read(entry, entry_ms)
        except CandleRejected as error:
            return error
        except Exception as error:
            # Nobody knows what it is, so it costs this entry and nothing else (G9).
            text = f"{type(error).__name__}: {str(error)[:200]!r}"
            return Unforeseen(f"internal error: {text}; please report it")

    def _read(self, entry: Entry, entry_ms: int) -> Candle | Ignored:
        candle = decode_candle(entry.fields, entry_ms, self._max_ahead_ms)
        if not self._is_wanted(candle.symbol):
            return Ignored()
        if not candle.is_closed or not self._is_of_our_interval(candle):
            return Ignored()
        shard = shard_of(candle.symbol, self._settings.shards)
        if shard != entry.shard:
            raise CandleRejected(
                f"symbol {candle.symbol!r} belongs to shard {shard}, but the entry was routed to "
                f"shard {entry.shard}: does it name more than one symbol?"
            )
        return candle

    def _is_wanted(self, symbol: str) -> bool:
        return self._wanted is None or symbol in self._wanted

    def _is_of_our_interval(self, candle: Candle) -> bool:
        """An entry that names no interval is of ours; `60s` is `1m`."""
        if candle.interval is None:
            return True
        return interval_ms(candle.interval) == self._interval_ms

    def _unchanged(self, shard: int, known: Memory | None, history: History) -> SymbolChange:
        known = known or Memory(Window(self._settings.window_size))
        window, starts_anew = known.window, False
        if known.left and known.left[0] and history[0]:
            # Nothing can go in front of the closes that are left, so all are written again.
            history = self._joined(history, known.left)
            window, starts_anew = Window(self._settings.window_size), True
        times_ms, closes = history
        last_ms = times_ms[-1] if times_ms else window.last_close_time_ms
        # A window that was lost must not let in again what was applied before.
        last_ms = max(last_ms, known.mark.close_time_ms)
        return SymbolChange(shard, window, known.mark, [*times_ms], [*closes], last_ms, starts_anew)

    def _joined(self, history: History, left: History) -> History:
        """Those of `history` that are older than what is left, and what is left."""
        newest_ms = left[0][0] - self._interval_ms // 2
        older_n = sum(time_ms <= newest_ms for time_ms in history[0])
        return [*history[0][:older_n], *left[0]], [*history[1][:older_n], *left[1]]

    def _apply(self, candle: Candle, change: SymbolChange, changes: Changes, entry: Entry) -> bool:
        """Add the candle, unless the symbol is already past it."""
        last_ms = change.last_close_time_ms
        if candle.close_time == last_ms:
            changes.count("duplicate")
            return False
        if candle.close_time < last_ms:
            changes.count(
                "late",
                f"{candle.symbol}: {entry} is late: close time {candle.close_time} "
                f"comes after {last_ms}",
            )
            return False
        missing = (candle.close_time - last_ms) // self._interval_ms - 1
        if missing > 0 and last_ms > 0:
            changes.count(
                "gap",
                f"{candle.symbol}: {missing} candles are missing between {last_ms} "
                f"and {candle.close_time}",
            )
        change.last_close_time_ms = candle.close_time
        change.close_times_ms.append(candle.close_time)
        change.closes.append(candle.close)
        changes.count("applied")
        return True

    def _is_due(self, mark: Mark, close_time_ms: int, now_ms: int) -> bool:
        if not self._by_wall_clock:
            return close_time_ms - mark.close_time_ms >= self._publish_interval_ms
        # A time in the future (a clock set back, a failover) would block the symbol for long, so
        # only the distance counts.
        return abs(now_ms - mark.published_ms) >= self._publish_interval_ms

    def _emit(self, closes: Sequence[_Close], changes: Changes, now_ms: int) -> None:
        """Publish the states that are due; each moves the mark of its symbol.

        By the wall clock at most one state per symbol can be due, and the newest wins.
        """
        if self._by_wall_clock:
            closes = list({close.candle.symbol: close for close in closes}.values())
        if not self._on_regime_change:
            # The states of the others are not needed, so they are not calculated.
            closes = self._take_due(closes, now_ms)
        for close, state in zip(closes, self._states(closes, changes), strict=True):
            regime = regime_of(state["regime_probs"])
            reason = self._reason(close, regime, now_ms) if self._on_regime_change else "interval"
            if reason is None:
                continue
            close.change.mark = Mark(close.candle.close_time, regime)
            changes.records.append(
                record_of(
                    self._settings,
                    close.candle,
                    state,
                    regime=regime,
                    buffer_size=min(close.length, self._settings.window_size),
                    reason=reason,
                )
            )
            changes.count("emitted")

    def _take_due(self, closes: Iterable[_Close], now_ms: int) -> list[_Close]:
        """Those that are due by the interval. Each moves the mark: the next counts from there."""
        due = []
        for close in closes:
            close_time_ms = close.candle.close_time
            if self._is_due(close.change.mark, close_time_ms, now_ms):
                close.change.mark = Mark(close_time_ms)
                due.append(close)
        return due

    def _reason(self, close: _Close, regime: str, now_ms: int) -> str | None:
        """Why the state after this close is published; None if it is not."""
        mark = close.change.mark
        if self._is_due(mark, close.candle.close_time, now_ms):
            return "interval"
        return None if mark.regime in ("", regime) else "regime_change"

    def _states(self, closes: Sequence[_Close], changes: Changes) -> list[State]:
        """The states after these closes, calculated many at a time, to the same bits as one by
        one. A state depends only on as many of the last closes as theta needs, so windows of any
        length go into one array.
        """
        if not closes:
            return []
        prices = {
            symbol: np.concatenate([change.before.closes(), change.closes])
            for symbol, change in changes.symbols.items()
        }
        windows = np.stack(
            [prices[candle.symbol][length - self._needed : length] for candle, _, length in closes]
        )
        states = self._market_state.get_states(windows)
        return [state for state in states if state is not None]
