"""Older closes for windows of longer intervals, from caches of these intervals.

A longer window begins with what the shorter one has (`longer_intervals.py`). With `{interval}` in
MARKETSTATE_BACKFILL_KEYS, closes of a cache come in front of that: when a window begins, and when
one that was loaded lacks closes. What the candles give, up to the one with which it begins, shows
what the cache means; later ones do not.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from marketstate.core.window import Window
from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import TimedClose, resampled
from marketstate.schemas.sequence import Place, place
from marketstate.worker.engine.beginnings import of_longer
from marketstate.worker.engine.cache_reader import CacheReader
from marketstate.worker.engine.cache_times import Stream
from marketstate.worker.engine.changes import Histories, History, Memory, MemoryOf, Reading
from marketstate.worker.engine.longer_intervals import LongerIntervals, LongerWindows
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client, other_keys


class _Beginning(NamedTuple):
    """A longer window that begins with a candle, or whose older closes are looked for then."""

    candle: Candle
    interval: str
    stream: Stream
    """What the candles give."""


class _Followed:
    """A symbol as the candles of a batch go by."""

    def __init__(self, window: Window, last_ms: int, lacking: dict[str, History]) -> None:
        self.last_ms = last_ms
        self.lacking = lacking
        """The longer windows that a cache may fill, and what they have."""
        self._window: Window | None = window
        self._closes: list[TimedClose] = []

    def add(self, times_ms: Sequence[int], closes: Sequence[float]) -> None:
        self._closes += zip(times_ms, closes, strict=True)

    def forget(self, lacking: dict[str, History]) -> None:
        self._window, self._closes, self.lacking = None, [], lacking

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
        """With `histories` of the candle interval, those of longer ones, by `of_longer` and the
        close time of the candle. `firsts` are the candles before which closes were missing.
        """
        found = list(self._beginnings(histories, firsts, readings, memory))
        if not found:
            return histories
        added = dict(histories)
        with self._open() as keys:
            for candle, interval, stream in found:
                reader, symbol = self._readers[interval], candle.symbol
                there = reader.there(keys, symbol)
                not_confirmed = partial(reader.tell_not_used, symbol)
                history = reader.closes(keys, there, symbol, stream, not_confirmed).history
                if history[0]:
                    added[of_longer(symbol, interval), candle.close_time] = history
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
        lacking: dict[str, History] = {}
        for name in self._readers:
            longer = known.longer.get(name)
            if longer is None or longer.left is not None:
                lacking[name] = (longer and longer.left) or ([], [])
        if not lacking and not is_first:
            return None
        last_ms = max(known.window.last_close_time_ms, known.mark.close_time_ms)
        return _Followed(known.window, last_ms, lacking)

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
            history = histories.get((candle.symbol, close_time_ms), ((), ()))
            one.add(*history)
            begins = begins or bool(history[0])
        one.add([close_time_ms], [candle.close])
        if one.lacking and self._longer.may_end(last_ms, close_time_ms):
            for windows in self._longer.each:
                left = one.lacking.get(windows.name)
                if left is None or not (begins or _may_end(windows, last_ms, close_time_ms)):
                    continue
                stream = _stream(windows, one.closes(self._window_size + 1), left)
                if stream:
                    del one.lacking[windows.name]
                    yield _Beginning(candle, windows.name, stream)
        one.last_ms = close_time_ms


def _stream(windows: LongerWindows, shorter: list[TimedClose], left: History) -> Stream | None:
    """What a longer window has left, and what the shorter one gives behind that; None if that
    is nothing.
    """
    known = list(zip(*left, strict=True))
    interval_ms = windows.longer.interval_ms
    count = len(known)
    for time_ms, close in resampled(windows.longer, shorter):
        if not known or place(known[-1][0], time_ms, interval_ms) is Place.NEXT:
            known.append((time_ms, close))
    if len(known) == count:
        return None
    return Stream(known[0][0], [ms for ms, _ in known], [close for _, close in known])


def _may_end(windows: LongerWindows, last_ms: int, close_time_ms: int) -> bool:
    longer = windows.longer
    return longer.ends_between(longer.boundary(last_ms), longer.boundary(close_time_ms))
