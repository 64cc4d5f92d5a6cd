"""Which window a candle goes into: the one there is, a new one, or one with closes from a cache.

A window starts over after a gap so long that older closes are no history, or that the symbol may
have been retired. So nothing that is published depends on when that happened. Pure, like the
pipeline.
"""

import math
from collections.abc import Iterable, Iterator

from marketstate.core.window import Window
from marketstate.schemas.candle import Candle
from marketstate.schemas.sequence import Place, missing_between, place, start_after_gaps
from marketstate.worker.engine.changes import (
    Changes,
    Damaged,
    First,
    Histories,
    History,
    Memory,
    MemoryOf,
    Reading,
    SymbolChange,
)
from marketstate.worker.engine.mark import Mark
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import PREFIX, Settings


class Beginnings:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Needed for every candle.
        self._interval_ms = settings.candle_interval_ms
        self._retire_after_ms = settings.retire_after_ms
        self._too_long_ms = settings.starts_over_after_ms

    def candles(
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
                last_ms[symbol] = self.unchanged(entry.shard, known).last_close_time_ms
            last = last_ms[symbol]
            if place(last, close_time_ms, self._interval_ms) is Place.NEXT:
                if symbol in incomplete or self._begins(last, close_time_ms):
                    yield candle
                    incomplete.discard(symbol)
                last_ms[symbol] = close_time_ms

    def unchanged(self, shard: int, known: Memory | None) -> SymbolChange:
        known = known or Memory(Window(self._settings.window_size))
        # A window that was lost must not let in again what was applied before.
        last_ms = max(known.window.last_close_time_ms, known.mark.close_time_ms)
        return SymbolChange(
            shard,
            known.window,
            known.mark,
            last_close_time_ms=last_ms,
            left=known.left,
            longer=known.longer,
        )

    def change_for(
        self, candle: Candle, change: SymbolChange, changes: Changes, histories: Histories
    ) -> SymbolChange:
        """The change to which the candle belongs: another one, if a window begins with it, or if
        closes that are missing before it come from a cache.
        """
        last_ms = change.last_close_time_ms
        if self._begins(last_ms, candle.close_time):
            change = self._beginning(candle, change, changes, histories)
            changes.symbols[candle.symbol] = change
        elif change.left and histories:
            change = self._completed(candle, change, histories)
            changes.symbols[candle.symbol] = change
        if histories:
            self._fill_longer(candle, last_ms, change, changes, histories)
        return change

    def _begins(self, last_close_time_ms: int, close_time_ms: int) -> bool:
        gap_ms = close_time_ms - last_close_time_ms
        return not last_close_time_ms or gap_ms >= self._too_long_ms

    def _beginning(
        self, candle: Candle, before: SymbolChange, changes: Changes, histories: Histories
    ) -> SymbolChange:
        """The window that begins with this candle, and with the closes before it from a cache."""
        history = histories.get(First(candle.symbol, candle.close_time), ((), ()))
        start = start_after_gaps(history[0], candle.close_time, self._too_long_ms)
        times_ms, closes = history[0][start:], history[1][start:]
        if last_ms := before.last_close_time_ms:
            self._tell_of_start_over(candle, last_ms, changes, is_gap=not times_ms)
        return SymbolChange(
            before.shard,
            Window(self._settings.window_size),
            Mark(),
            [*times_ms],
            [*closes],
            times_ms[-1] if times_ms else 0,
            starts_over=last_ms > 0,
            longer=before.longer,
        )

    def _tell_of_start_over(
        self, candle: Candle, last_ms: int, changes: Changes, *, is_gap: bool
    ) -> None:
        between = f"between {utc(last_ms)} and {utc(candle.close_time)} UTC"
        if candle.close_time - last_ms >= self._retire_after_ms:
            # Not counted: if the symbol was retired, nobody knows of the gap.
            text = (
                f"{candle.symbol}: no candle {between}, which is {self._settings.retire_after} or "
                "longer: its window starts over"
            )
            changes.warnings.append(("starts over", text))
            return
        missing = missing_between(last_ms, candle.close_time, self._interval_ms)
        changes.count(
            "restarted",
            f"{candle.symbol}: {missing} candles are missing {between}, and {PREFIX}MAX_GAP allows "
            f"{self._settings.most_missing}: its window starts over",
        )
        if is_gap:
            changes.count("gap")

    def _completed(
        self, candle: Candle, change: SymbolChange, histories: Histories
    ) -> SymbolChange:
        """The window of which closes are missing, with those before this candle from a cache."""
        history = histories.get(First(candle.symbol, candle.close_time), ((), ()))
        if not history[0] or change.left is None:
            return change
        window, starts_over = change.before, False
        if change.left[0]:
            # Nothing can go in front of the closes that are left, so all are written again.
            history = _joined(history, change.left, self._interval_ms)
            window, starts_over = Window(self._settings.window_size), True
        start = start_after_gaps(history[0], candle.close_time, self._too_long_ms)
        times_ms, closes = history[0][start:], history[1][start:]
        if not times_ms:
            return change
        last_ms = max(times_ms[-1], change.mark.close_time_ms)
        return SymbolChange(
            change.shard,
            window,
            change.mark,
            [*times_ms],
            [*closes],
            last_ms,
            starts_over,
            change.left,
            change.longer,
        )

    def _fill_longer(
        self,
        candle: Candle,
        last_ms: int,
        change: SymbolChange,
        changes: Changes,
        histories: Histories,
    ) -> None:
        """Begin windows of longer intervals with closes of their caches, and with what is left of
        them. The candle adds what the shorter window has behind that.
        """
        is_forgotten = 0 < last_ms <= candle.close_time - self._retire_after_ms
        for longer in self._settings.longer:
            name = longer.candle_interval
            history = histories.get(First(candle.symbol, candle.close_time, name))
            if history is None:
                continue
            of_interval = changes.longer.setdefault(name, {})
            before = of_interval.get(candle.symbol)
            # It may have been forgotten with an earlier candle of the batch.
            is_new = is_forgotten or (before is not None and before.starts_over)
            known = None if is_new else change.longer.get(name)
            if known and known.left:
                history = _joined(history, known.left, longer.candle_interval_ms)
            of_interval[candle.symbol] = SymbolChange(
                change.shard,
                Window(self._settings.window_size),
                known.mark if known else Mark(),
                [*history[0]],
                [*history[1]],
                history[0][-1],
                starts_over=True,
                left=([], []),
                longer=change.longer,
            )


def _joined(history: History, left: History, interval_ms: int) -> History:
    """Those of `history` that are older than what is left, and what is left."""
    if not left[0]:
        return history
    first_ms = left[0][0]
    older_n = sum(place(time_ms, first_ms, interval_ms) is Place.NEXT for time_ms in history[0])
    return [*history[0][:older_n], *left[0]], [*history[1][:older_n], *left[1]]
