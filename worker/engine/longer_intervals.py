"""What a candle does to the windows of longer intervals.

Their candles are made of those that were applied, by `schemas/longer.py`. The one in progress is
kept nowhere: its close so far is the last close of the shorter window, which every commit writes
together with the longer ones. Pure, like the pipeline.

For each interval, the rules are those of a group of its own. In addition, after a silence of
MARKETSTATE_RETIRE_AFTER between two candles all windows of the symbol start over, so that nothing
shows whether it was retired. A longer window that is empty begins with what the shorter one has,
closes of a cache included: that is also how an interval begins that the group has not had before.
In front of that, of what comes after a gap with which it starts over, and of a loaded one that
lacks closes, there may be closes from a cache of the longer interval.
What ended before the candle in hand is not published.
"""

import math
from collections.abc import Iterator
from typing import Final

from marketstate.core.window import Window
from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import TimedClose, longer_interval, resampled
from marketstate.schemas.sequence import Place, missing_between, place
from marketstate.worker.engine.changes import Changes, Memory, Older, SymbolChange
from marketstate.worker.engine.emission import Close, Emission
from marketstate.worker.engine.mark import Mark
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import Settings


class LongerIntervals:
    def __init__(self, settings: Settings) -> None:
        base = settings.candle_interval
        self.each: Final = [LongerWindows(each, base) for each in settings.longer]
        self._window_size = settings.window_size
        self._retire_after_ms = settings.retire_after_ms
        # All boundaries of all of them are among those that are so far apart.
        self._apart_ms = math.gcd(
            *(windows.longer.interval_ms for windows in self.each),
            *(windows.longer.phase_ms - windows.longer.shorter_phase_ms for windows in self.each),
        )

    def may_end(self, last_ms: int, close_time_ms: int) -> bool:
        """Whether a longer candle can end with a candle that closes then, after one that closed at
        `last_ms`. Most end none, and this is asked for every candle.
        """
        if not self.each:
            return False
        longer, apart_ms = self.each[0].longer, self._apart_ms
        since_ms = longer.boundary(close_time_ms) - longer.shorter_phase_ms
        if since_ms % apart_ms == 0:
            return True
        if close_time_ms - last_ms == longer.shorter_ms:
            return False
        last_since_ms = longer.boundary(last_ms) - longer.shorter_phase_ms
        return since_ms // apart_ms != last_since_ms // apart_ms

    def follow(
        self,
        candle: Candle,
        earlier: SymbolChange,
        last: tuple[int, float | None],
        change: SymbolChange,
        changes: Changes,
        *,
        older: Older,
    ) -> Iterator[tuple[Emission, Close]]:
        """Add the longer candles that end with `candle`, the newest one of `change`. Before it, the
        symbol had `earlier`, with `last` as its newest close: at 0 if there was none, and None if
        it is gone.

        Yields those after which there is a state to publish, if it is due.
        """
        symbol, (last_ms, last_close) = candle.symbol, last
        is_forgotten = 0 < last_ms <= candle.close_time - self._retire_after_ms
        at_once = change is earlier and last_ms > 0 and not is_forgotten
        known = None if is_forgotten or last_close is None else (last_ms, last_close)
        # The same for all of them.
        boundary_ms = self.each[0].longer.boundary(candle.close_time)
        last_boundary_ms = self.each[0].longer.boundary(last_ms)
        for windows in self.each:
            longer = windows.longer
            if at_once and not longer.ends_between(last_boundary_ms, boundary_ms):
                continue
            mine = windows.change_of(symbol, change, changes)
            newest = known
            if is_forgotten:
                mine = windows.start_over(symbol, mine, changes)
            begins_with = mine
            if not at_once or not mine.length:
                before = self._before(earlier, change, is_forgotten=is_forgotten)
                newest = before[-1] if before else known
                mine = windows.begin(symbol, before, known, mine, changes)
            ended = []
            for one in longer.ended_by(newest, candle.close_time, candle.close):
                if added := windows.add(symbol, one, mine, changes):
                    mine = added
                    ended.append((one, mine, mine.length))
            # The gap with which a window starts over was counted.
            older_n = windows.fill(symbol, mine, changes, older, is_gap=mine is begins_with)
            for one, its, length in ended:
                with_older_n = length + older_n if its is mine else length
                if with_older_n >= windows.emission.needed:
                    yield windows.emission, Close(_candle(symbol, one), its, with_older_n)

    def _before(
        self, earlier: SymbolChange, change: SymbolChange, *, is_forgotten: bool
    ) -> list[TimedClose]:
        """What the shorter window had before its newest close if candles came one by one."""
        closes = dict(change.all_closes[:-1])
        if change is not earlier and not is_forgotten:
            closes = dict(earlier.all_closes) | closes
        return sorted(closes.items())[-self._window_size :]


class LongerWindows:
    """The windows of one longer interval."""

    def __init__(self, settings: Settings, shorter: str) -> None:
        self.name: Final = settings.candle_interval
        self.longer: Final = longer_interval(self.name, shorter)
        self.emission: Final = Emission(settings)
        self._settings = settings
        self._too_long_ms: Final = settings.starts_over_after_ms

    def change_of(self, symbol: str, change: SymbolChange, changes: Changes) -> SymbolChange:
        """What the batch changes so far of the window that belongs to `change`; maybe nothing."""
        mine = changes.longer.get(self.name, {}).get(symbol)
        if mine is None:
            known = change.longer.get(self.name) or Memory(Window(self._settings.window_size))
            # A window that was lost must not let in again what was applied before.
            last_ms = max(known.window.last_close_time_ms, known.mark.close_time_ms)
            mine = SymbolChange(
                change.shard,
                known.window,
                known.mark,
                last_close_time_ms=last_ms,
                lacks_closes=known.lacks_closes or not known.window,
                longer=change.longer,
            )
        return mine

    def begin(
        self,
        symbol: str,
        before: list[TimedClose],
        known: TimedClose | None,
        mine: SymbolChange,
        changes: Changes,
    ) -> SymbolChange:
        """The change with the longer candles that ended before the one in hand: all of `before`
        where there is no window, or otherwise what has come behind `known` from a cache.
        """
        if mine.length:
            before = [one for one in before if known is None or one[0] > known[0]]
        else:
            # They may be older than what was published from a window that is lost.
            known, mine.last_close_time_ms = None, 0
        for one in resampled(self.longer, before, known):
            mine = self.add(symbol, one, mine, changes) or mine
        mine.last_close_time_ms = max(mine.last_close_time_ms, mine.mark.close_time_ms)
        return mine

    def start_over(self, symbol: str, mine: SymbolChange, changes: Changes) -> SymbolChange:
        if not mine.last_close_time_ms:
            return mine
        window = Window(self._settings.window_size)
        mine = SymbolChange(
            mine.shard, window, Mark(), starts_over=True, lacks_closes=True, longer=mine.longer
        )
        changes.longer.setdefault(self.name, {})[symbol] = mine
        return mine

    def add(
        self, symbol: str, one: TimedClose, mine: SymbolChange, changes: Changes
    ) -> SymbolChange | None:
        """The change with this close: another one, if a window begins with it. None if the window
        is already past it, as when files or a repair have put it ahead of the shorter one.
        """
        close_time_ms, close = one
        last_ms, interval_ms = mine.last_close_time_ms, self.longer.interval_ms
        if last_ms:
            if place(last_ms, close_time_ms, interval_ms) is not Place.NEXT:
                return None
            if missing := missing_between(last_ms, close_time_ms, interval_ms):
                changes.count(f"gap{self._settings.suffix}")
            if close_time_ms - last_ms >= self._too_long_ms:
                self._tell_of_start_over(symbol, last_ms, close_time_ms, missing, changes)
                mine = self.start_over(symbol, mine, changes)
        mine.last_close_time_ms = close_time_ms
        mine.close_times_ms.append(close_time_ms)
        mine.closes.append(close)
        changes.longer.setdefault(self.name, {})[symbol] = mine
        return mine

    def fill(
        self, symbol: str, mine: SymbolChange, changes: Changes, older: Older, *, is_gap: bool
    ) -> int:
        """With the first close of the batch in a window that lacks some, put those of a cache in
        front of all that it has; returns how many. `is_gap`: whether candles that are missing
        behind them are counted.
        """
        if not mine.lacks_closes or not mine.closes:
            return 0
        mine.lacks_closes = False
        has = mine.all_closes
        times_ms, closes = older(symbol, self.name, has)
        if not times_ms:
            return 0
        is_new = not mine.before
        if is_gap and is_new and missing_between(times_ms[-1], has[0][0], self.longer.interval_ms):
            changes.count(f"gap{self._settings.suffix}")
        # Nothing can go in front of closes that were written, so all are written again.
        mine.before, mine.kept_n, mine.starts_over = Window(self._settings.window_size), 0, True
        mine.close_times_ms = [*times_ms, *(time_ms for time_ms, _ in has)]
        mine.closes = [*closes, *(close for _, close in has)]
        return len(times_ms)

    def _tell_of_start_over(
        self, symbol: str, last_ms: int, close_time_ms: int, missing: int, changes: Changes
    ) -> None:
        changes.count(
            f"restarted{self._settings.suffix}",
            f"{symbol}: {missing} candles of {self.name} are missing between {utc(last_ms)} and "
            f"{utc(close_time_ms)} UTC: its window of {self.name} starts over",
        )


def _candle(symbol: str, one: TimedClose) -> Candle:
    return Candle(symbol=symbol, close_time=one[0], close=one[1])
