"""Older closes for a symbol without a window, from the candle caches of other programs.

A cache is a sorted set scored by open time (in ms or s), or a list, oldest first. A value is a
plain number, or JSON with `close` or `c` and optionally a time. If the values of a list have no
times, they are assumed to end just before the symbol's first candle from the stream; if the last
value equals that candle's close, it is assumed to be that candle.
"""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
import redis

from schemas.candle import (
    EARLIEST_CLOSE_TIME_MS,
    LATEST_CLOSE_TIME_MS,
    MAX_DOCUMENT_BYTES,
    Candle,
)
from worker.engine.changes import Histories, History
from worker.log import log
from worker.settings import Settings
from worker.store.connection import Client
from worker.store.refusal import is_transient


class Backfill:
    def __init__(self, settings: Settings, client: Client) -> None:
        self._client = client
        self._interval_ms = settings.candle_interval_ms
        self._patterns = settings.backfill_patterns
        # One more than the window holds: the newest may be the first candle itself.
        self._most = settings.window_size + 1

    def histories(self, first_candles: Iterable[Candle]) -> Histories:
        """The closes before each of these candles, from the first cache of its symbol that has any.
        A cache that cannot be used is logged and skipped.
        """
        if not self._patterns:
            return {}
        histories = {
            (candle.symbol, candle.close_time): self._history(candle) for candle in first_candles
        }
        return {first: history for first, history in histories.items() if history is not None}

    def _history(self, first: Candle) -> History | None:
        keys = [pattern.replace("{symbol}", first.symbol) for pattern in self._patterns]
        with self._client.pipeline(transaction=False) as reads:
            for key in keys:
                reads.type(key)
            types = reads.execute(raise_on_error=False)
        for key, kind in zip(keys, types, strict=True):
            if kind == b"none":
                continue
            history = self._read_or_skip(key, kind, first)
            if history[0]:
                log.info("%s: %d closes from the cache %s", first.symbol, len(history[0]), key)
                return history
        return None

    def _read_or_skip(self, key: str, kind: bytes | redis.RedisError, first: Candle) -> History:
        try:
            if isinstance(kind, redis.RedisError):
                raise kind
            return self._read(key, kind, first)
        except Exception as error:
            # Whatever another program has written there costs no more than this cache (G9).
            if isinstance(error, redis.RedisError) and is_transient(error):
                raise
            log.warning("%s: the cache %s is not used: %s", first.symbol, key, error)
            return [], []

    def _read(self, key: str, kind: bytes, first: Candle) -> History:
        times_ms: list[float | None]
        if kind == b"zset":
            scored: Any = self._client.zrange(key, -self._most, -1, withscores=True)
            values, times_ms = [value for value, _ in scored], [_ms(score) for _, score in scored]
        elif kind == b"list":
            values = self._client.lrange(key, -self._most, -1)
            times_ms = [None] * len(values)
        else:
            raise ValueError(f"it is a {kind.decode()}; expected a sorted set or a list")
        parsed = [
            self._close(value, open_ms) for value, open_ms in zip(values, times_ms, strict=True)
        ]
        timed = {ms: close for ms, close in parsed if ms is not None}
        if not timed:
            return self._before([close for _, close in parsed], first)
        if len(timed) < len(parsed) and None in (ms for ms, _ in parsed):
            raise ValueError("some of its values have a time and some do not")
        return self._older(timed, first)

    def _close(self, value: bytes, open_ms: float | None) -> tuple[int | None, float]:
        """The close time in ms, or None if it is unknown, and the close."""
        if len(value) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"a value has {len(value):,} bytes")
        try:
            found = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError(f"the value {value[:80]!r} is neither a number nor JSON") from None
        close_ms = None if open_ms is None else int(open_ms) + self._interval_ms - 1
        if isinstance(found, dict):
            close_ms = self._time_in(found, close_ms)
            found = found.get("close", found.get("c"))
        try:
            close = msgspec.convert(found, float, strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"the value {value[:80]!r} has no close") from None
        if not 0 < close < math.inf:
            raise ValueError(f"the close {close!r} is not finite and above 0")
        return close_ms, close

    def _time_in(self, found: dict[str, Any], otherwise: int | None) -> int | None:
        from_open = self._interval_ms - 1
        to_close = {"close_time": 0, "T": 0, "open_time": from_open, "t": from_open}
        for name, offset in to_close.items():
            time = found.get(name)
            if isinstance(time, int | float) and not isinstance(time, bool):
                return int(_ms(time)) + offset
        return otherwise

    def _older(self, timed: dict[int, float], first: Candle) -> History:
        """Half an interval is enough to distinguish the first candle from the one before it, no
        matter if cache and stream count the close as the last millisecond or the next open.
        """
        times_ms = sorted(timed)
        for ms in (times_ms[0], times_ms[-1]):
            if not EARLIEST_CLOSE_TIME_MS <= ms <= LATEST_CLOSE_TIME_MS:
                raise ValueError(f"the time {ms} is not between the years 2000 and 2100")
        if any(b - a < self._interval_ms / 2 for a, b in pairwise(times_ms)):
            raise ValueError("its candles are closer together than the candle interval")
        times_ms = [ms for ms in times_ms if ms + self._interval_ms / 2 <= first.close_time]
        return times_ms, [timed[ms] for ms in times_ms]

    def _before(self, closes: list[float], first: Candle) -> History:
        if closes and closes[-1] == first.close:
            closes = closes[:-1]
        n = len(closes)
        times_ms = [first.close_time - self._interval_ms * (n - i) for i in range(n)]
        if times_ms and times_ms[0] < EARLIEST_CLOSE_TIME_MS:
            raise ValueError(f"its {n} values would begin before the year 2000")
        return times_ms, closes


def _ms(time: float) -> float:
    """The time in ms. A time in seconds is recognised: as milliseconds it would be in 1970."""
    if not abs(time) <= LATEST_CLOSE_TIME_MS:  # also of what is not a number
        raise ValueError(f"the time {str(time)[:40]} is not between the years 2000 and 2100")
    return time if abs(time) >= EARLIEST_CLOSE_TIME_MS / 10 else time * 1_000
