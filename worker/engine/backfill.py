"""Older closes for windows that begin or lack some, from the candle caches of other programs.

A cache is a sorted set that is scored by time, or a list that is filled from either end;
`cache_reader.py` reads it. The pipeline asks for closes with the candle that needs them.

What the window begins with shows what a cache means. For the candle interval, all other candles of
the batch show it, too. If a list without times waits for more that confirm it, the symbol is
`unconfirmed`, and its next candle asks again.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from operator import itemgetter
from typing import Final, Self

from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import TimedClose
from marketstate.schemas.sequence import Place, place
from marketstate.worker.engine.cache_lists import NotConfirmed
from marketstate.worker.engine.cache_reader import CacheReader, Keys
from marketstate.worker.engine.cache_times import Stream
from marketstate.worker.engine.changes import History, Memory, MemoryOf, Reading
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client, other_keys

# With so many closes of the stream, a list without times is confirmed or never will be.
_ENOUGH_TO_CONFIRM: Final = 20


class Backfill:
    def __init__(self, settings: Settings, client: Client) -> None:
        self.open: Final = partial(other_keys, settings, client)
        self.candle_interval: Final = settings.candle_interval
        readers = {each.candle_interval: CacheReader(each) for each in settings.each_interval}
        self.readers: Final = {name: reader for name, reader in readers.items() if reader}
        self.unconfirmed: set[str] = set()
        """Symbols whose cache more candles may confirm."""

    def of_batch(self, readings: Sequence[Reading], memory: MemoryOf) -> "OlderCloses":
        return OlderCloses(self, readings, memory)


class OlderCloses:
    """What a batch asks for: an `Older`. A batch may be calculated again, but all is read once. As
    a context manager, it closes what it has opened.
    """

    def __init__(self, backfill: Backfill, readings: Sequence[Reading], memory: MemoryOf) -> None:
        self._of = backfill
        self._readings = readings
        self._memory = memory
        self._stack = ExitStack()
        self._keys: Keys | None = None
        self._found: dict[tuple[str, str, TimedClose], History] = {}
        self._waiting: set[str] = set()
        """Of the unconfirmed symbols, those that were told before."""
        if backfill.unconfirmed:
            read = {found.symbol for _, _, found in readings if isinstance(found, Candle)}
            self._waiting = backfill.unconfirmed & read
            backfill.unconfirmed -= read

    def __call__(self, symbol: str, interval: str, closes: Sequence[TimedClose]) -> History:
        """Those in front of these, from the first cache of the symbol that has any. A cache that
        cannot be used is logged and skipped.
        """
        if interval not in self._of.readers:
            return (), ()
        question = symbol, interval, closes[-1]
        if question not in self._found:
            self._found[question] = self._read(symbol, interval, closes)
        return self._found[question]

    def _read(self, symbol: str, interval: str, closes: Sequence[TimedClose]) -> History:
        if self._keys is None:
            self._keys = self._of.open()
            self._stack.enter_context(self._keys)
        reader = self._of.readers[interval]
        there = reader.there(self._keys, symbol)
        if not there:
            return (), ()
        known, may_wait = closes, False
        if interval == self._of.candle_interval:
            known, may_wait = self._known(symbol, closes, reader.wanted.interval_ms)
        stream = Stream(closes[0][0], *zip(*known, strict=True))
        not_confirmed = partial(self._note_not_confirmed, reader, symbol, may_wait)
        return reader.closes(self._keys, there, symbol, stream, not_confirmed).history

    def _known(
        self, symbol: str, closes: Sequence[TimedClose], interval_ms: int
    ) -> tuple[list[TimedClose], bool]:
        """These closes and those of the batch in the order of time, the first one of each candle;
        and whether more of them may confirm a list.
        """
        its = [
            (entry.shard, found)
            for entry, _, found in self._readings
            if isinstance(found, Candle) and found.symbol == symbol
        ]
        every = [*closes, *((found.close_time, found.close) for _, found in its)]
        known: list[TimedClose] = []
        for one in sorted(every, key=itemgetter(0)):
            if not known or place(known[-1][0], one[0], interval_ms) is Place.NEXT:
                known.append(one)
        remembered = self._memory(its[0][0], symbol)
        # A window that was lost is counted whenever it is looked up.
        lost_its_window = isinstance(remembered, Memory) and remembered.lost_its_window
        return known, len(known) < _ENOUGH_TO_CONFIRM and not lost_its_window

    def _note_not_confirmed(
        self, reader: CacheReader, symbol: str, may_wait: bool, key: str, error: NotConfirmed
    ) -> None:
        if may_wait:
            self._of.unconfirmed.add(symbol)
        if not may_wait or symbol not in self._waiting:
            later = "; its next candles may confirm it" if may_wait else ""
            reader.tell_not_used(symbol, key, f"{error}{later}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._keys = None
        self._stack.close()
