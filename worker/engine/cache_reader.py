"""Reads the caches of one interval: from the newest end, and no more than needed.

What a value may be is in `cache_values.py`; which closes belong in front of a candle is in
`cached_closes.py`, and for a list without times in `cache_lists.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from logging import INFO, WARNING
from typing import Final

import redis

from marketstate.worker.engine.cache_lists import NotConfirmed, closes_of_list
from marketstate.worker.engine.cache_times import Stream, Wanted
from marketstate.worker.engine.cache_values import NOT_CLOSED, Cached, read_value
from marketstate.worker.engine.cached_closes import Found, closes_before
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.other_keys import OnAnyNode, OnOurServer, Question
from marketstate.worker.store.refusal import is_transient

Keys = OnOurServer | OnAnyNode
"""What keys of other programs are read with."""

# Values that may be newer than the first candle, or not closed: read at once with the others.
_SPARE: Final = 20
# Of a list without times, the stream's candles are looked for among so many more.
_SPARE_WITHOUT_TIMES: Final = 2_000
# Values that show which end of a list is the newest; some may not be closed.
_AT_AN_END: Final = 3
# If values are so large that the cache cannot be used, no more of them come into memory: Redis
# limits their number, not their size.
_FIRST_PART: Final = 4
# When a cache has run ahead of the stream, so many values are read beside those that are wanted.
_MOST_VALUES: Final = 20_000
_MOST_BYTES: Final = 32 * 1024 * 1024

_Raw = list[tuple[bytes, float | None]]
_There = tuple[str, bytes | Exception]
"""The key of a cache, and its type, or why that cannot be read."""


class CacheReader:
    def __init__(self, settings: Settings) -> None:
        self._patterns = settings.backfill_patterns
        self._of_interval = f" {settings.longer_interval}" if settings.longer_interval else ""
        self.wanted: Final = Wanted(
            settings.candle_interval_ms, settings.window_size, settings.starts_over_after_ms
        )

    def __bool__(self) -> bool:
        """Whether there may be caches."""
        return bool(self._patterns)

    def there(self, keys: Keys, symbol: str) -> list[_There]:
        """The caches of the symbol that exist."""
        names = [pattern.replace("{symbol}", symbol) for pattern in self._patterns]
        types = keys.replies([Question(name, partial(_type, name)) for name in names])
        return [(name, kind) for name, kind in zip(names, types, strict=True) if kind != b"none"]

    def closes(
        self,
        keys: Keys,
        there: Sequence[_There],
        symbol: str,
        stream: Stream,
        not_confirmed: Callable[[str, NotConfirmed], None],
    ) -> Found:
        """What belongs in front of the first close of `stream`, from the first cache that has any.
        One that cannot be used is logged and skipped; `not_confirmed` is called for a list that
        more candles may confirm.
        """
        for cache in there:
            found = self._read_or_skip(keys, cache, symbol, stream, not_confirmed)
            if found.history[0]:
                self._tell(symbol, cache[0], found)
                return found
        return Found()

    def tell_not_used(self, symbol: str, key: str, why: object) -> None:
        log.warning("%s%s: the cache %s is not used: %s", symbol, self._of_interval, key, why)

    def _read_or_skip(
        self,
        keys: Keys,
        cache: _There,
        symbol: str,
        stream: Stream,
        not_confirmed: Callable[[str, NotConfirmed], None],
    ) -> Found:
        key, kind = cache
        try:
            if isinstance(kind, Exception):
                raise kind
            return self._read(keys, key, kind, symbol, stream)
        except NotConfirmed as error:
            not_confirmed(key, error)
        except Exception as error:
            # Whatever another program has written there costs no more than this cache (G9).
            if isinstance(error, redis.RedisError) and is_transient(error):
                raise
            self.tell_not_used(symbol, key, error)
        return Found()

    def _read(self, keys: Keys, key: str, kind: bytes, symbol: str, stream: Stream) -> Found:
        if kind not in (b"zset", b"list"):
            raise ValueError(f"it is a {kind.decode()}; expected a sorted set or a list")
        values: list[Cached] = []
        left_out: Counter[str] = Counter()
        values_n = bytes_n = 0
        for raw in self._newest_first(keys, key, kind, symbol):
            values += self._parsed(raw, symbol, left_out)
            values_n += len(raw)
            bytes_n += sum(len(value) for value, _ in raw)
            older = {value.time_ms for value in values if (value.time_ms or 0) < stream.first_ms}
            if (
                len(older) > self.wanted.most + 1
                or values_n > self.wanted.most + _MOST_VALUES
                or bytes_n > _MOST_BYTES
                or not _have_times(values)
            ):
                break
        if _have_times(values):
            found = closes_before(values, stream, self.wanted)
        else:
            ends = self._from_both_ends(keys, key, symbol)
            found = Found(closes_of_list(ends, stream, self.wanted))
        if not found.history[0]:
            reasons = [f"{n} of its values are {why}" for why, n in left_out.items()]
            raise ValueError("; ".join(["it has no close before the first candle", *reasons]))
        left = [f"left out: {n} {why}" for why, n in left_out.items() if why != NOT_CLOSED]
        return found._replace(notes=[*found.notes, *left])

    def _newest_first(self, keys: Keys, key: str, kind: bytes, symbol: str) -> Iterator[_Raw]:
        """The cache in parts, each in its own order."""
        at_tail = kind == b"zset" or self._is_newer_at_tail(keys, key, symbol)
        start, size = 0, _FIRST_PART
        while True:
            end = start + size
            first, last = (-end, -start - 1) if at_tail else (start, end - 1)
            part = _range(keys, key, first, last, scored=kind == b"zset")
            yield part
            if len(part) < size:
                return
            start, size = end, self.wanted.most + _SPARE

    def _is_newer_at_tail(self, keys: Keys, key: str, symbol: str) -> bool:
        head, tail = (
            self._parsed(_range(keys, key, *part), symbol)
            for part in ((0, _AT_AN_END - 1), (-_AT_AN_END, -1))
        )
        return max(map(_newness, tail), default=0) >= max(map(_newness, head), default=0)

    def _from_both_ends(self, keys: Keys, key: str, symbol: str) -> list[list[float]]:
        """What a list without times holds in front of its end, and behind its beginning, as if that
        was the newest.
        """
        size = self.wanted.most + _SPARE_WITHOUT_TIMES
        tail = [value.close for value in self._parsed(_range(keys, key, -size, -1), symbol)]
        head = [value.close for value in self._parsed(_range(keys, key, 0, size - 1), symbol)]
        return [tail, head[::-1]]

    def _parsed(self, raw: _Raw, symbol: str, left_out: Counter[str] | None = None) -> list[Cached]:
        values = []
        for value, score in raw:
            one = read_value(value, score, symbol, self.wanted.interval_ms)
            if isinstance(one, Cached):
                values.append(one)
            elif left_out is not None:
                left_out[one.why] += 1
        return values

    def _tell(self, symbol: str, key: str, found: Found) -> None:
        text = f"{symbol}{self._of_interval}: {len(found.history[0])} closes from the cache {key}"
        if found.missing:
            text += f"; candles missing between them: {found.missing}"
        is_odd = found.missing or found.notes
        log.log(WARNING if is_odd else INFO, "%s", "; ".join([text, *found.notes]))


def _range(keys: Keys, key: str, start: int, end: int, *, scored: bool = False) -> _Raw:
    def ask(reads: Client) -> object:
        if scored:
            return reads.zrange(key, start, end, withscores=True)
        return reads.lrange(key, start, end)

    [found] = keys.replies([Question(key, ask)])
    if isinstance(found, Exception):
        raise found
    return (
        [(value, score) for value, score in found] if scored else [(value, None) for value in found]
    )


def _type(key: str, reads: Client) -> object:
    return reads.type(key)


def _newness(value: Cached) -> int:
    return value.time_ms or 0


def _have_times(values: Sequence[Cached]) -> bool:
    return not values or any(value.time_ms is not None for value in values)
