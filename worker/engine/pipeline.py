"""From entries to changes: what a batch does to windows, and what is published for it.

Pure: it reads the memory of the shards and returns the changes. They take effect when `commit`
writes them, not before.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from core.regime import regime_of
from core.state import MarketState, State
from core.window import Window
from schemas.candle import Candle, CandleRejected, decode_candle
from schemas.interval import interval_ms
from schemas.sequence import missing_within
from worker.engine.changes import (
    Changes,
    Damaged,
    Entry,
    Histories,
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
from worker.settings import PREFIX, Settings


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
        self._retire_after_ms = settings.retire_after_ms
        self._no_room = (
            f"its symbol is new, and the group has {settings.max_symbols} symbols, as many as "
            f"{PREFIX}MAX_SYMBOLS allows"
        )

    def read(self, entries: Iterable[Entry]) -> list[Reading]:
        """What each entry is, in stream order."""
        in_order = sorted(((entry.order, entry) for entry in entries), key=itemgetter(0))
        return [Reading(entry, order, self._found(entry, order[0])) for order, entry in in_order]

    def beginnings(
        self, readings: Iterable[Reading], memory: MemoryOf, room: float = math.inf
    ) -> Iterator[Candle]:
        """The candles before which older closes are missing. They are the first of a new symbol, of
        which `room` may come, the first of one whose window is not complete, and the first after
        so long a gap that the window starts over.
        """
        last_ms: dict[str, int] = {}
        incomplete: set[str] = set()
        for entry, _, candle in readings:
            if not isinstance(candle, Candle):
                continue
            symbol, close_time_ms = candle.symbol, candle.close_time
            if symbol not in last_ms:
                known = memory(entry.shard, symbol)
                if isinstance(known, Damaged):
                    continue
                if known is None:
                    if room <= 0:
                        continue
                    room -= 1
                elif known.left is not None:
                    incomplete.add(symbol)
                last_ms[symbol] = self._unchanged(entry.shard, known).last_close_time_ms
            last = last_ms[symbol]
            if self._begins(last, close_time_ms) or (symbol in incomplete and close_time_ms > last):
                yield candle
                incomplete.discard(symbol)
            last_ms[symbol] = max(last, close_time_ms)

    def advance(
        self,
        readings: Iterable[Reading],
        memory: MemoryOf,
        histories: Histories,
        now_ms: int = 0,
        room: float = math.inf,
    ) -> Changes:
        """What the readings change, and which new symbols are accepted if there is `room` for them.

        `now_ms` is the time of Redis's clock, for `rate_clock=wall`.
        """
        changes = Changes()
        closes: list[_Close] = []
        lost_windows: list[str] = []
        for entry, order, found in readings:
            changes.finished.setdefault(entry.shard, []).append(entry.id)
            match found:
                case Candle(symbol=symbol):
                    change = changes.symbols.get(symbol)
                    if change is None:
                        known = memory(entry.shard, symbol)
                        if isinstance(known, Damaged) or (known is None and room <= 0):
                            self._refuse(known, entry, changes)
                            continue
                        room -= known is None
                        change = self._unchanged(entry.shard, known)
                        changes.symbols[symbol] = change
                        if known and known.lost_its_window:
                            lost_windows.append(symbol)
                    change = self._with_older_closes(found, change, changes, histories)
                    if self._apply(found, change, changes, entry) and (
                        change.length >= self._needed and order > self._warm_until
                    ):
                        closes.append(_Close(found, change, change.length))
                case Ignored():
                    changes.count("ignored")
                case Lost():
                    changes.count("lost", f"{entry} was trimmed before it was finished: lost")
                case CandleRejected():
                    self._reject(found, entry, changes)
        for symbol, change in [item for item in changes.symbols.items() if not item[1].closes]:
            changes.passed_over.append((change.shard, symbol))
            del changes.symbols[symbol]
        for _ in filter(changes.symbols.__contains__, lost_windows):
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
            if self.is_waiting(symbol, known) and self._is_due(mark, 0, now_ms):
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

    def is_waiting(self, symbol: str, known: Memory) -> bool:
        """Whether the state after its newest close is still to be published, by the wall clock."""
        window, mark = known.window, known.mark
        return (
            self._by_wall_clock
            and mark.published_ms > 0
            and window.last_close_time_ms > mark.close_time_ms
            and len(window) >= self._needed
            and self._is_wanted(symbol)
        )

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

    def _unchanged(self, shard: int, known: Memory | None) -> SymbolChange:
        known = known or Memory(Window(self._settings.window_size))
        # A window that was lost must not let in again what was applied before.
        last_ms = max(known.window.last_close_time_ms, known.mark.close_time_ms)
        return SymbolChange(
            shard, known.window, known.mark, last_close_time_ms=last_ms, left=known.left
        )

    def _begins(self, last_close_time_ms: int, close_time_ms: int) -> bool:
        """Whether a window begins with this candle: it is the first one, or the symbol may have
        been retired before it. So nothing that is published depends on when that happened.
        """
        gap_ms = close_time_ms - last_close_time_ms
        return not last_close_time_ms or gap_ms >= self._retire_after_ms

    def _with_older_closes(
        self, candle: Candle, change: SymbolChange, changes: Changes, histories: Histories
    ) -> SymbolChange:
        """The change to which the candle belongs: another one, if a window begins with it, or if
        closes that are missing before it come from a cache.
        """
        if self._begins(change.last_close_time_ms, candle.close_time):
            change = self._beginning(candle, change, changes, histories)
        elif change.left and histories:
            change = self._completed(candle, change, histories)
        else:
            return change
        changes.symbols[candle.symbol] = change
        return change

    def _beginning(
        self, candle: Candle, before: SymbolChange, changes: Changes, histories: Histories
    ) -> SymbolChange:
        """The window that begins with this candle, and with the closes before it from a cache."""
        times_ms, closes = histories.get((candle.symbol, candle.close_time), ((), ()))
        if times_ms and self._begins(times_ms[-1], candle.close_time):
            times_ms, closes = (), ()
        if last_ms := before.last_close_time_ms:
            text = (
                f"{candle.symbol}: no candle between {last_ms} and {candle.close_time}, which is "
                f"{self._settings.retire_after} or longer: its window starts over"
            )
            changes.warnings.append(("starts over", text))
        return SymbolChange(
            before.shard,
            Window(self._settings.window_size),
            Mark(),
            [*times_ms],
            [*closes],
            times_ms[-1] if times_ms else 0,
            starts_anew=last_ms > 0,
        )

    def _completed(
        self, candle: Candle, change: SymbolChange, histories: Histories
    ) -> SymbolChange:
        """The window of which closes are missing, with those before this candle from a cache."""
        history = histories.get((candle.symbol, candle.close_time), ((), ()))
        if not history[0] or change.left is None:
            return change
        window, starts_anew = change.before, False
        if change.left[0]:
            # Nothing can go in front of the closes that are left, so all are written again.
            history = self._joined(history, change.left)
            window, starts_anew = Window(self._settings.window_size), True
        times_ms, closes = history
        last_ms = max(times_ms[-1], change.mark.close_time_ms)
        return SymbolChange(
            change.shard, window, change.mark, [*times_ms], [*closes], last_ms, starts_anew
        )

    def _joined(self, history: History, left: History) -> History:
        """Those of `history` that are older than what is left, and what is left."""
        newest_ms = left[0][0] - self._interval_ms // 2
        older_n = sum(time_ms <= newest_ms for time_ms in history[0])
        return [*history[0][:older_n], *left[0]], [*history[1][:older_n], *left[1]]

    def _refuse(self, known: Damaged | None, entry: Entry, changes: Changes) -> None:
        """A candle of a symbol that is set aside, or of a new one for which there is no room."""
        if known is None:
            self._reject(CandleRejected(self._no_room), entry, changes)
        else:
            changes.reject(entry, f"quarantined: {known.reason}")
            changes.count("quarantined")

    def _reject(self, error: CandleRejected, entry: Entry, changes: Changes) -> None:
        changes.reject(entry, str(error))
        text = f"{entry} is a dead letter: {error}"
        if isinstance(error, Unforeseen):
            changes.errors.append(text)
        else:
            changes.warnings.append(("dead", text))

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
        for close, state in zip(closes, self._states(closes), strict=True):
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
                    missing=self._missing_before(close),
                    reason=reason,
                )
            )
            changes.count("emitted")

    def _missing_before(self, close: _Close) -> int:
        """Candles that are missing among the closes that a state is calculated from."""
        change, first = close.change, close.length - self._needed
        kept_n = len(change.before)
        first_ms = (
            change.before.close_time_ms(first)
            if first < kept_n
            else change.close_times_ms[first - kept_n]
        )
        last_ms = close.candle.close_time
        return missing_within(first_ms, last_ms, self._needed, self._interval_ms)

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

    def _states(self, closes: Sequence[_Close]) -> list[State]:
        """The states after these closes, calculated many at a time, to the same bits as one by
        one. A state depends only on as many of the last closes as theta needs, so windows of any
        length go into one array.
        """
        if not closes:
            return []
        # By identity: a symbol whose window starts over has two changes.
        by_id = {id(close.change): close.change for close in closes}
        prices = {
            key: np.concatenate([change.before.closes(), change.closes])
            for key, change in by_id.items()
        }
        windows = np.stack(
            [prices[id(change)][length - self._needed : length] for _, change, length in closes]
        )
        states = self._market_state.get_states(windows)
        return [state for state in states if state is not None]
