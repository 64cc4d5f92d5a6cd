"""Older closes for a symbol without a window, from the candle caches of other programs.

A cache is a sorted set that is scored by time, or a list that is filled from either end. Here they
are read, from the newest end and no more than needed. What a value may be is in `cache_values.py`;
which closes belong in front of the first candle is in `cached_closes.py`, and for a list without
times in `cache_lists.py`. Such a list may wait for more candles that confirm it: the symbol is then
`unconfirmed`, and its next candle asks again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from logging import INFO, WARNING
from operator import itemgetter
from typing import Final

import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.sequence import Place, place
from marketstate.worker.engine.cache_lists import NotConfirmed, closes_of_list
from marketstate.worker.engine.cache_times import Stream, Wanted
from marketstate.worker.engine.cache_values import NOT_CLOSED, Cached, read_value
from marketstate.worker.engine.cached_closes import Found, closes_before
from marketstate.worker.engine.changes import Histories, History, Memory, MemoryOf, Reading
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client, other_keys
from marketstate.worker.store.other_keys import Question
from marketstate.worker.store.refusal import is_transient

# Values that may be newer than the first candle, or not closed: read at once with the others.
_SPARE: Final = 20
# Of a list without times, the stream's candles are looked for among so many more.
_SPARE_WITHOUT_TIMES: Final = 2_000
# Values that show which end of a list is the newest; some may not be closed.
_AT_AN_END: Final = 3
# When a cache has run ahead of the stream, so many values are read beside those that are wanted.
_MOST_VALUES: Final = 20_000
_MOST_BYTES: Final = 32 * 1024 * 1024
# With so many closes of the stream, a list without times is confirmed or never will be.
_ENOUGH_TO_CONFIRM: Final = 20

_Raw = list[tuple[bytes, float | None]]


class Backfill:
    def __init__(self, settings: Settings, client: Client) -> None:
        self._open = partial(other_keys, settings, client)
        self._patterns = settings.backfill_patterns
        self.unconfirmed: set[str] = set()
        """Symbols whose cache more candles may confirm."""
        self._waiting: set[str] = set()
        """Those of them that were told before."""
        self._wanted = Wanted(
            settings.candle_interval_ms, settings.window_size, settings.starts_over_after_ms
        )

    def histories(
        self, first_candles: Iterable[Candle], readings: Sequence[Reading], memory: MemoryOf
    ) -> Histories:
        """The closes before each of these candles, from the first cache of its symbol that has any.
        A cache that cannot be used is logged and skipped.

        The candles among the `readings`, and what `memory` has left of a window, show what a cache
        means.
        """
        if not self._patterns:
            return {}
        self._waiting, self.unconfirmed = self.unconfirmed, set()
        with self._open() as self._caches:
            found = {
                (candle.symbol, candle.close_time): self._found(candle, readings, memory)
                for candle in first_candles
            }
        read = {reading.found.symbol for reading in readings if isinstance(reading.found, Candle)}
        self.unconfirmed |= self._waiting - read
        return {first: each.history for first, each in found.items() if each.history[0]}

    def _found(self, first: Candle, readings: Sequence[Reading], memory: MemoryOf) -> Found:
        keys = [pattern.replace("{symbol}", first.symbol) for pattern in self._patterns]
        types = self._caches.replies([Question(key, partial(_type, key)) for key in keys])
        there = [(key, kind) for key, kind in zip(keys, types, strict=True) if kind != b"none"]
        if not there:
            return Found()
        shard = next(reading.entry.shard for reading in readings if reading.found is first)
        remembered = memory(shard, first.symbol)
        known = remembered if isinstance(remembered, Memory) else None
        stream = self._stream(first, readings, (known and known.left) or ((), ()))
        # A window that was lost is counted whenever it is looked up.
        may_wait = len(stream.closes) < _ENOUGH_TO_CONFIRM and not (known and known.lost_its_window)
        for key, kind in there:
            found = self._read_or_skip(key, kind, first, stream, may_wait)
            if found.history[0]:
                _tell(first.symbol, key, found)
                return found
        return Found()

    def _stream(self, first: Candle, readings: Sequence[Reading], left: History) -> Stream:
        """All closes of its symbol that are known, in the order of time; the first one of each
        candle. What is left of its window counts, and closes are wanted in front of that.
        """
        read = [
            (found.close_time, found.close)
            for _, _, found in readings
            if isinstance(found, Candle) and found.symbol == first.symbol
        ]
        times_ms: list[int] = []
        closes: list[float] = []
        for time_ms, close in sorted([*zip(*left, strict=True), *read], key=itemgetter(0)):
            if not times_ms or place(times_ms[-1], time_ms, self._wanted.interval_ms) is Place.NEXT:
                times_ms.append(time_ms)
                closes.append(close)
        return Stream(left[0][0] if left[0] else first.close_time, times_ms, closes)

    def _read_or_skip(
        self,
        key: str,
        kind: bytes | Exception,
        first: Candle,
        stream: Stream,
        may_wait: bool,
    ) -> Found:
        try:
            if isinstance(kind, Exception):
                raise kind
            return self._read(key, kind, first, stream)
        except NotConfirmed as error:
            if may_wait:
                self.unconfirmed.add(first.symbol)
            if not may_wait or first.symbol not in self._waiting:
                later = "; its next candles may confirm it" if may_wait else ""
                log.warning("%s: the cache %s is not used: %s%s", first.symbol, key, error, later)
        except Exception as error:
            # Whatever another program has written there costs no more than this cache (G9).
            if isinstance(error, redis.RedisError) and is_transient(error):
                raise
            log.warning("%s: the cache %s is not used: %s", first.symbol, key, error)
        return Found()

    def _read(self, key: str, kind: bytes, first: Candle, stream: Stream) -> Found:
        if kind not in (b"zset", b"list"):
            raise ValueError(f"it is a {kind.decode()}; expected a sorted set or a list")
        values: list[Cached] = []
        left_out: Counter[str] = Counter()
        values_n = bytes_n = 0
        for raw in self._newest_first(key, kind, first):
            values += self._parsed(raw, first, left_out)
            values_n += len(raw)
            bytes_n += sum(len(value) for value, _ in raw)
            older = {value.time_ms for value in values if (value.time_ms or 0) < stream.first_ms}
            if (
                len(older) > self._wanted.most + 1
                or values_n > self._wanted.most + _MOST_VALUES
                or bytes_n > _MOST_BYTES
                or not _have_times(values)
            ):
                break
        if _have_times(values):
            found = closes_before(values, stream, self._wanted)
        else:
            ends = self._from_both_ends(key, first)
            found = Found(closes_of_list(ends, stream, self._wanted))
        if not found.history[0]:
            reasons = [f"{n} of its values are {why}" for why, n in left_out.items()]
            raise ValueError("; ".join(["it has no close before the first candle", *reasons]))
        left = [f"left out: {n} {why}" for why, n in left_out.items() if why != NOT_CLOSED]
        return found._replace(notes=[*found.notes, *left])

    def _newest_first(self, key: str, kind: bytes, first: Candle) -> Iterator[_Raw]:
        """The cache in parts, each in its own order."""
        size = self._wanted.most + _SPARE
        at_tail = kind == b"zset" or self._is_newer_at_tail(key, first)
        for i in count():
            start, end = (
                (-(i + 1) * size, -i * size - 1) if at_tail else (i * size, i * size + size - 1)
            )
            part = self._range(key, start, end, scored=kind == b"zset")
            yield part
            if len(part) < size:
                return

    def _is_newer_at_tail(self, key: str, first: Candle) -> bool:
        head, tail = (
            self._parsed(self._range(key, *part), first)
            for part in ((0, _AT_AN_END - 1), (-_AT_AN_END, -1))
        )
        return max(map(_newness, tail), default=0) >= max(map(_newness, head), default=0)

    def _from_both_ends(self, key: str, first: Candle) -> list[list[float]]:
        """What a list without times holds in front of its end, and behind its beginning, as if that
        was the newest.
        """
        size = self._wanted.most + _SPARE_WITHOUT_TIMES
        tail = [value.close for value in self._parsed(self._range(key, -size, -1), first)]
        head = [value.close for value in self._parsed(self._range(key, 0, size - 1), first)]
        return [tail, head[::-1]]

    def _range(self, key: str, start: int, end: int, *, scored: bool = False) -> _Raw:
        def ask(reads: Client) -> object:
            if scored:
                return reads.zrange(key, start, end, withscores=True)
            return reads.lrange(key, start, end)

        [found] = self._caches.replies([Question(key, ask)])
        if isinstance(found, Exception):
            raise found
        return (
            [(value, score) for value, score in found]
            if scored
            else [(value, None) for value in found]
        )

    def _parsed(
        self, raw: _Raw, first: Candle, left_out: Counter[str] | None = None
    ) -> list[Cached]:
        values = []
        for value, score in raw:
            one = read_value(value, score, first.symbol, self._wanted.interval_ms)
            if isinstance(one, Cached):
                values.append(one)
            elif left_out is not None:
                left_out[one.why] += 1
        return values


def _type(key: str, reads: Client) -> object:
    return reads.type(key)


def _newness(value: Cached) -> int:
    return value.time_ms or 0


def _have_times(values: Sequence[Cached]) -> bool:
    return not values or any(value.time_ms is not None for value in values)


def _tell(symbol: str, key: str, found: Found) -> None:
    text = f"{symbol}: {len(found.history[0])} closes from the cache {key}"
    if found.missing:
        text += f"; candles missing between them: {found.missing}"
    is_odd = found.missing or found.notes
    log.log(WARNING if is_odd else INFO, "%s", "; ".join([text, *found.notes]))
