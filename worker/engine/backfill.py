"""Older closes for a symbol without a window, from the candle caches of other programs.

A cache is a sorted set that is scored by time, or a list that is filled from either end;
`cache_reader.py` reads it. A list without times may wait for more candles that confirm it: the
symbol is then `unconfirmed`, and its next candle asks again.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Final

from marketstate.schemas.candle import Candle
from marketstate.schemas.sequence import Place, place
from marketstate.worker.engine.cache_lists import NotConfirmed
from marketstate.worker.engine.cache_reader import CacheReader, Keys
from marketstate.worker.engine.cache_times import Stream
from marketstate.worker.engine.cached_closes import Found
from marketstate.worker.engine.changes import First, Histories, History, Memory, MemoryOf, Reading
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client, other_keys

# With so many closes of the stream, a list without times is confirmed or never will be.
_ENOUGH_TO_CONFIRM: Final = 20


class Backfill:
    def __init__(self, settings: Settings, client: Client) -> None:
        self._open = partial(other_keys, settings, client)
        self._reader = CacheReader(settings)
        self.unconfirmed: set[str] = set()
        """Symbols whose cache more candles may confirm."""
        self._waiting: set[str] = set()
        """Those of them that were told before."""

    def histories(
        self, first_candles: Iterable[Candle], readings: Sequence[Reading], memory: MemoryOf
    ) -> Histories:
        """The closes before each of these candles, from the first cache of its symbol that has any.
        A cache that cannot be used is logged and skipped.

        The candles among the `readings`, and what `memory` has left of a window, show what a cache
        means.
        """
        if not self._reader:
            return {}
        self._waiting, self.unconfirmed = self.unconfirmed, set()
        with self._open() as keys:
            found = {
                First(candle.symbol, candle.close_time): self._found(keys, candle, readings, memory)
                for candle in first_candles
            }
        read = {reading.found.symbol for reading in readings if isinstance(reading.found, Candle)}
        self.unconfirmed |= self._waiting - read
        return {first: each.history for first, each in found.items() if each.history[0]}

    def _found(
        self, keys: Keys, first: Candle, readings: Sequence[Reading], memory: MemoryOf
    ) -> Found:
        there = self._reader.there(keys, first.symbol)
        if not there:
            return Found()
        shard = next(reading.entry.shard for reading in readings if reading.found is first)
        remembered = memory(shard, first.symbol)
        known = remembered if isinstance(remembered, Memory) else None
        stream = self._stream(first, readings, (known and known.left) or ((), ()))
        # A window that was lost is counted whenever it is looked up.
        may_wait = len(stream.closes) < _ENOUGH_TO_CONFIRM and not (known and known.lost_its_window)
        not_confirmed = partial(self._note_not_confirmed, first.symbol, may_wait)
        return self._reader.closes(keys, there, first.symbol, stream, not_confirmed)

    def _note_not_confirmed(
        self, symbol: str, may_wait: bool, key: str, error: NotConfirmed
    ) -> None:
        if may_wait:
            self.unconfirmed.add(symbol)
        if not may_wait or symbol not in self._waiting:
            later = "; its next candles may confirm it" if may_wait else ""
            self._reader.tell_not_used(symbol, key, f"{error}{later}")

    def _stream(self, first: Candle, readings: Sequence[Reading], left: History) -> Stream:
        """All closes of its symbol that are known, in the order of time; the first one of each
        candle. What is left of its window counts, and closes are wanted in front of that.
        """
        read = [
            (found.close_time, found.close)
            for _, _, found in readings
            if isinstance(found, Candle) and found.symbol == first.symbol
        ]
        interval_ms = self._reader.wanted.interval_ms
        times_ms: list[int] = []
        closes: list[float] = []
        for time_ms, close in sorted([*zip(*left, strict=True), *read], key=itemgetter(0)):
            if not times_ms or place(times_ms[-1], time_ms, interval_ms) is Place.NEXT:
                times_ms.append(time_ms)
                closes.append(close)
        return Stream(left[0][0] if left[0] else first.close_time, times_ms, closes)
