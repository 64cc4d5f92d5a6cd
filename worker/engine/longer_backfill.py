"""Older closes for windows of longer intervals, from caches of these intervals.

A longer window begins with what the shorter one has (`longer_intervals.py`). With `{interval}` in
MARKETSTATE_BACKFILL_KEYS, closes of a cache come in front of that: when a window begins or starts
over, and when one that was loaded lacks closes. What the candles give, up to the one with which it
begins, shows what the cache means; later ones do not.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from marketstate.core.window import Window
from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import TimedClose, resampled
from marketstate.schemas.sequence import Place, place, start_after_gaps
from marketstate.worker.engine.cache_reader import CacheReader
from marketstate.worker.engine.cache_times import Stream
from marketstate.worker.engine.changes import First, Histories, History, Memory, MemoryOf, Reading
from marketstate.worker.engine.longer_intervals import LongerIntervals, LongerWindows
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client, other_keys


class _Beginning(NamedTuple):
    """A longer window that begins or starts over with a candle, or whose older closes are looked
    for then.
    """

    first: First
    stream: Stream
    """What the candles give."""


class _Followed:
    """A symbol as the candles of a batch go by."""

    def __init__(self, window: Window, last_ms: int, lacking: dict[str, History]) -> None:
        self.last_ms = last_ms
        self.lacking = lacking
        """The longer windows that a cache may fill at once, and what they have."""
        self.newest_ms: dict[str, int] = {}
        """Of the other longer windows: a cache may fill them when they start over."""
        self._window: Window | None = window
        self._closes: list[TimedClose] = []

    def add(self, times_ms: Sequence[int], closes: Sequence[float]) -> None:
        self._closes += zip(times_ms, closes, strict=True)

    def forget(self, lacking: dict[str, History]) -> None:
        self._window, self._closes, self.lacking, self.newest_ms = None, [], lacking, {}

    def closes(self, most: int) -> list[TimedClose]:
        """Of the candle interval. It takes long to list them, so only where they are needed."""
        found: dict[int, float] = {}
        if self._window is not None:
            times_ms = (self._window.close_time_ms(i) for i in range(len(self._window)))
            found = dict(zip(times_ms, self._window.closes().tolist(), strict=True))
        return sorted((found | dict(self._closes)).items())[-most:]


class LongerBackfill:
    def __init__(self, settings: Settings, client: Client) -> None:
        self._open = partial(other_keys, settings, client)
        self._readers = {each.candle_interval: CacheReader(each) for each in settings.longer}
        self._readers = {name: reader for name, reader in self._readers.items() if reader}
        self._longer = LongerIntervals(settings)
        self._interval_ms = settings.candle_interval_ms
        self._too_long_ms = settings.starts_over_after_ms
        self._retire_after_ms = settings.retire_after_ms
        self._window_size = settings.window_size

    def __bool__(self) -> bool:
        """Whether there may be caches."""
        return bool(self._readers)

    def added_to(
        self,
        histories: Histories,
        firsts: Collection[Candle],
        readings: Sequence[Reading],
        memory: MemoryOf,
    ) -> Histories:
        """With `histories` of the candle interval, those of longer ones. `firsts` are the candles
        before which closes were missing.
        """
        found = list(self._beginnings(histories, firsts, readings, memory))
        if not found:
            return histories
        added = dict(histories)
        with self._open() as keys:
            for first, stream in found:
                reader, symbol = self._readers[first.interval], first.symbol
                there = reader.there(keys, symbol)
                not_confirmed = partial(reader.tell_not_used, symbol)
                history = reader.closes(keys, there, symbol, stream, not_confirmed).history
                if history[0]:
                    added[first] = history
        return added

    def _beginnings(
        self,
        histories: Histories,
        firsts: Collection[Candle],
        readings: Sequence[Reading],
        memory: MemoryOf,
    ) -> Iterator[_Beginning]:
        every = {(candle.symbol, candle.close_time) for candle in firsts}
        symbols = {candle.symbol for candle in firsts}
        followed: dict[str, _Followed | None] = {}
        for entry, _, candle in readings:
            if not isinstance(candle, Candle):
                continue
            symbol = candle.symbol
            if symbol not in followed:
                known = memory(entry.shard, symbol)
                followed[symbol] = self._followed(known, is_first=symbol in symbols)
            one = followed[symbol]
            if one and place(one.last_ms, candle.close_time, self._interval_ms) is Place.NEXT:
                is_first = (symbol, candle.close_time) in every
                yield from self._of_candle(candle, one, histories, is_first=is_first)

    def _followed(self, known: object, *, is_first: bool) -> _Followed | None:
        """None if nothing can begin with its candles."""
        if known is None and is_first:
            return _Followed(Window(self._window_size), 0, self._all_lacking())
        if not isinstance(known, Memory):
            return None
        last_ms = max(known.window.last_close_time_ms, known.mark.close_time_ms)
        one = _Followed(known.window, last_ms, {})
        for name in self._readers:
            mine = known.longer.get(name)
            # After a silence of MARKETSTATE_RETIRE_AFTER, one is empty until a longer candle ends.
            if mine is None or mine.left is not None or not mine.window:
                one.lacking[name] = (mine and mine.left) or ([], [])
            else:
                one.newest_ms[name] = max(mine.window.last_close_time_ms, mine.mark.close_time_ms)
        return one

    def _all_lacking(self) -> dict[str, History]:
        return {name: ([], []) for name in self._readers}

    def _of_candle(
        self, candle: Candle, one: _Followed, histories: Histories, *, is_first: bool
    ) -> Iterator[_Beginning]:
        """As `LongerIntervals.follow` goes by the candle."""
        last_ms, close_time_ms = one.last_ms, candle.close_time
        begins = not last_ms or close_time_ms - last_ms >= self._too_long_ms
        if 0 < last_ms <= close_time_ms - self._retire_after_ms:
            one.forget(self._all_lacking())
        if is_first:
            history = histories.get(First(candle.symbol, close_time_ms), ((), ()))
            one.add(*history)
            begins = begins or bool(history[0])
        one.add([close_time_ms], [candle.close])
        if self._longer.may_end(last_ms, close_time_ms):
            for windows in self._longer.each:
                if windows.name in self._readers and (
                    begins or _may_end(windows, last_ms, close_time_ms)
                ):
                    yield from self._of_window(windows, candle, one, begins=begins)
        one.last_ms = close_time_ms

    def _of_window(
        self, windows: LongerWindows, candle: Candle, one: _Followed, *, begins: bool
    ) -> Iterator[_Beginning]:
        """What begins in a longer window with a candle: at most one."""
        name, symbol, close_time_ms = windows.name, candle.symbol, candle.close_time
        left, newest_ms = one.lacking.get(name), one.newest_ms.get(name, 0)
        goes_on = close_time_ms - newest_ms < windows.too_long_ms
        if left is None and goes_on and not begins:
            # As nearly always: the shorter closes need not be listed.
            for time_ms, _ in windows.longer.ended_by((one.last_ms, 0.0), close_time_ms, 0.0):
                one.newest_ms[name] = max(newest_ms, time_ms)
            return
        has = ([newest_ms], [0.0]) if left is None else left
        count = len(has[0])
        # As `LongerWindows.begin` does: all that the shorter window has, and where there is
        # something, only what has come behind its newest close.
        every = one.closes(self._window_size + 2)
        all_there_is = every[-self._window_size - 1 :]
        behind = [each for each in every if each[0] >= one.last_ms]
        times_ms, closes = _known(windows, behind if count else all_there_is, has)
        start = (
            start_after_gaps(times_ms[:-1], times_ms[-1], windows.too_long_ms) if times_ms else 0
        )
        starts_over = start > 0 and start >= count
        if left is not None and not starts_over:
            times_ms, closes = _known(windows, all_there_is, left)
        if len(times_ms) == count:
            return
        one.newest_ms[name] = times_ms[-1]
        one.lacking.pop(name, None)
        if starts_over:
            stream = Stream(times_ms[start], times_ms[start:], closes[start:])
            first = First(symbol, times_ms[start], name, starts_over=True)
            yield _Beginning(first, stream)
        elif left is not None:
            stream = Stream(times_ms[0], times_ms, closes)
            yield _Beginning(First(symbol, close_time_ms, name), stream)


def _known(
    windows: LongerWindows, shorter: list[TimedClose], has: History
) -> tuple[list[int], list[float]]:
    """What a longer window has, and what the shorter one gives behind that."""
    times_ms, closes = [*has[0]], [*has[1]]
    interval_ms = windows.longer.interval_ms
    for time_ms, close in resampled(windows.longer, shorter):
        if not times_ms or place(times_ms[-1], time_ms, interval_ms) is Place.NEXT:
            times_ms.append(time_ms)
            closes.append(close)
    return times_ms, closes


def _may_end(windows: LongerWindows, last_ms: int, close_time_ms: int) -> bool:
    longer = windows.longer
    return longer.ends_between(longer.boundary(last_ms), longer.boundary(close_time_ms))
