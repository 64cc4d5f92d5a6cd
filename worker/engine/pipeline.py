"""From entries to changes: what a batch does to windows, and what is published for it.

Pure: it reads the memory of the shards, asks `older` for closes where a window begins, and returns
the changes. They take effect when `commit` writes them, not before.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from marketstate.schemas.candle import Candle, CandleRejected
from marketstate.schemas.sequence import Place, missing_between, place
from marketstate.worker.engine.beginnings import Beginnings
from marketstate.worker.engine.changes import (
    Changes,
    Damaged,
    Entry,
    Ignored,
    Lost,
    Memory,
    MemoryOf,
    Older,
    Reading,
    SymbolChange,
    Unforeseen,
)
from marketstate.worker.engine.emission import Close, Emission
from marketstate.worker.engine.longer_intervals import LongerIntervals
from marketstate.worker.engine.reading import Reader
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import PREFIX, Settings

_HOUR_MS: Final = 3_600_000
TOO_CLOSE: Final = "too close"
"""The kind of a warning, which has no counter."""
Closes = defaultdict[Emission, list[Close]]
"""Those after which there is a state to publish if it is due."""
# Of an interval: candles that follow each other are further apart, though not always by all of it.
_LEAST_APART: Final = 0.8


class Pipeline:
    """Knows the rules by which a candle is applied, ignored or emitted."""

    def __init__(
        self,
        settings: Settings,
        warm_until: tuple[int, int],
        intervals: Collection[str] | None = None,
    ) -> None:
        """Up to the entry id `warm_until`, candles fill windows and emit nothing. States of other
        than these `intervals` are not wanted; by default, all are.
        """
        self._settings = settings
        self._reader = Reader(settings)
        self._beginnings = Beginnings(settings)
        self._emission = Emission(settings)
        self._longer = LongerIntervals(settings)
        self._warm_until = warm_until
        self._intervals = intervals
        # Needed for every candle.
        self._needed = self._emission.needed
        self._interval_ms = settings.candle_interval_ms
        self._by_wall_clock = settings.rate_clock == "wall"
        self._no_room = (
            f"its symbol is new, and the group has {settings.most_symbols} symbols, as many as "
            f"{PREFIX}MAX_SYMBOLS allows"
            + (f" in each of {settings.partitions} partitions" if settings.partitions else "")
        )

    def read(self, entries: Iterable[Entry]) -> list[Reading]:
        """What each entry is, in stream order."""
        return self._reader.read(entries)

    def advance(
        self,
        readings: Iterable[Reading],
        memory: MemoryOf,
        older: Older,
        now_ms: int = 0,
        room: float = math.inf,
    ) -> Changes:
        """What the readings change, and which new symbols are accepted if there is `room` for them.

        `now_ms` is the time of Redis's clock, for `rate_clock=wall`.
        """
        changes = Changes()
        closes: Closes = defaultdict(list, {self._emission: []})
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
                        change = self._beginnings.unchanged(entry.shard, known)
                        changes.symbols[symbol] = change
                    into = closes if order > self._warm_until else defaultdict(list)
                    self._take(found, change, changes, entry, older, closes=into)
                case Ignored(counter, why):
                    changes.count(counter)
                    if why:
                        changes.tell_once(counter, why, why)
                case Lost():
                    changes.count("lost", f"{entry} was trimmed before it was finished: lost")
                case CandleRejected():
                    self._reject(found, entry, changes)
        for symbol, change in [item for item in changes.symbols.items() if not item[1].closes]:
            changes.passed_over.append((change.shard, symbol))
            del changes.symbols[symbol]
        self._emit(closes, changes, now_ms)
        return changes

    def _take(
        self,
        candle: Candle,
        before: SymbolChange,
        changes: Changes,
        entry: Entry,
        older: Older,
        *,
        closes: Closes,
    ) -> None:
        """Apply the candle. `closes` gets those, its own and those of longer candles, after which
        there is a state to publish if it is due.
        """
        last_ms, last = before.last_close_time_ms, None
        if self._longer.may_end(last_ms, candle.close_time):
            last = last_ms, before.last_close
        change = self._beginnings.change_for(candle, before, changes, older)
        if not self._apply(candle, change, changes, entry):
            return
        length = change.length
        if length >= self._needed:
            closes[self._emission].append(Close(candle, change, length))
        if last:
            of_longer = self._longer.follow(candle, before, last, change, changes, older=older)
            for emission, close in of_longer:
                closes[emission].append(close)

    def overdue(
        self, remembered: Iterable[tuple[int, str, Memory]], now_ms: int, most: int
    ) -> Changes:
        """What is due by the wall clock although no candle has come: the newest close of a symbol
        whose interval was not over when that close came. About `most` states at once.
        """
        changes = Changes()
        closes: Closes = defaultdict(list)
        due_n = 0
        for shard, symbol, known in remembered:
            if due_n >= most:
                break
            for name, emission, mine in self._windows_of(known):
                if not self._is_waiting(symbol, mine) or not emission.is_due(mine.mark, 0, now_ms):
                    continue
                due_n += 1
                window = mine.window
                newest = Candle(
                    symbol=symbol,
                    close=float(window.closes()[-1]),
                    close_time=window.last_close_time_ms,
                )
                change = SymbolChange(shard, window, mine.mark, longer=known.longer)
                of_interval = changes.longer.setdefault(name, {}) if name else changes.symbols
                of_interval[symbol] = change
                changes.finished.setdefault(shard, [])
                closes[emission].append(Close(newest, change, len(window)))
        self._emit(closes, changes, now_ms)
        return changes

    def _emit(self, closes: Closes, changes: Changes, now_ms: int) -> None:
        for emission, of_emission in closes.items():
            if self._intervals is None or emission.interval in self._intervals:
                emission.emit(of_emission, changes, now_ms)

    def is_waiting(self, symbol: str, known: Memory) -> bool:
        """Whether a state after a newest close is still to be published, by the wall clock."""
        return any(self._is_waiting(symbol, mine) for _, _, mine in self._windows_of(known))

    def _is_waiting(self, symbol: str, known: Memory) -> bool:
        window, mark = known.window, known.mark
        return (
            self._by_wall_clock
            and mark.published_ms > 0
            and window.last_close_time_ms > mark.close_time_ms
            and len(window) >= self._needed
            and self._reader.is_wanted(symbol)
        )

    def _windows_of(self, known: Memory) -> Iterator[tuple[str, Emission, Memory]]:
        """What is remembered for each interval; the name of the candle interval is left empty."""
        yield "", self._emission, known
        for windows in self._longer.each:
            if mine := known.longer.get(windows.name):
                yield windows.name, windows.emission, mine

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
        close_time_ms = candle.close_time
        is_next = close_time_ms - change.last_close_time_ms == self._interval_ms
        if not is_next and not self._is_later(candle, change, changes, entry):
            return False
        if change.lacks_closes:
            if change.mark.close_time_ms:
                changes.count("window_lost")
            change.lacks_closes = False
        change.last_close_time_ms = close_time_ms
        change.close_times_ms.append(close_time_ms)
        change.closes.append(candle.close)
        changes.count("applied")
        return True

    def _is_later(
        self, candle: Candle, change: SymbolChange, changes: Changes, entry: Entry
    ) -> bool:
        """Whether a candle that is not exactly the next one is to be added; counts what it is."""
        last_ms, close_time_ms = change.last_close_time_ms, candle.close_time
        where = place(last_ms, close_time_ms, self._interval_ms)
        if where is Place.SAME:
            self._pass_over(candle, change, changes, entry)
        elif where is Place.BEFORE:
            changes.count(
                "late",
                f"{candle.symbol}: {entry} is late: its candle closed at {utc(close_time_ms)} UTC, "
                f"and the last one that counts closed at {utc(last_ms)}",
            )
        elif last_ms and (missing := missing_between(last_ms, close_time_ms, self._interval_ms)):
            changes.count(
                "gap",
                f"{candle.symbol}: candles missing between {utc(last_ms)} and "
                f"{utc(close_time_ms)} UTC: {missing}",
            )
        elif last_ms and candle.interval is None:
            self._tell_if_too_close(candle, last_ms, changes)
        return where is Place.NEXT

    def _tell_if_too_close(self, candle: Candle, last_ms: int, changes: Changes) -> None:
        """Candles that name no interval may be shorter than those of the group."""
        apart_ms = candle.close_time - last_ms
        if apart_ms >= _LEAST_APART * self._interval_ms:
            return
        changes.tell_once(
            TOO_CLOSE,
            f"{TOO_CLOSE} {candle.symbol} {last_ms // _HOUR_MS}",
            f"{candle.symbol}: its candle of {utc(candle.close_time)} UTC closed only "
            f"{apart_ms / 1_000:g} s after the one before it, but {PREFIX}CANDLE_INTERVAL is "
            f"{self._settings.candle_interval}; if that is so with each, they are of another "
            "interval, and their states are wrong: write the field interval, too. Others of this "
            "hour are not logged",
        )

    def _pass_over(
        self, candle: Candle, change: SymbolChange, changes: Changes, entry: Entry
    ) -> None:
        """Count the last candle, which has come once more."""
        known = change.last_close
        if known is None or known == candle.close:
            changes.count("duplicate")
            return
        changes.count("revised")
        last_ms = change.last_close_time_ms
        changes.tell_once(
            "revised",
            f"revised {candle.symbol} {last_ms // _HOUR_MS}",
            f"{candle.symbol}: {entry} has the close {candle.close!r} for the candle of "
            f"{utc(last_ms)} UTC, which came with {known!r} before: the first one stays. Others of "
            "this hour are only counted (revised)",
        )
