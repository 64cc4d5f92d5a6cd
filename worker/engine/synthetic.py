"""Synthetic candles, for trying things out: `MARKETSTATE_SOURCE=synthetic`.

The price is a fixed function of symbol and close time, and so is the id of an entry: all workers
write the same entries, and Redis takes each of them once. Symbols with BTC in their name trend,
those with ETH revert to a mean, all others chop.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import redis

from marketstate.schemas.candle import Candle, CandleRejected, decode_candle, encode_envelope
from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")
CANDLES_AT_START: Final = 300
_KEPT_CANDLES_PER_SYMBOL: Final = 1_000
_IS_THERE: Final = "equal or smaller than the target stream top item"
"""What Redis says of an entry that another worker has written."""

# A day of 1-minute candles; the path returns to its base at the end of each block.
_BLOCK: Final = 1_440
_NOISE_PER_CANDLE: Final = 0.0004
_TREND_PER_CANDLE: Final = 0.00002
_TREND_LEG: Final = 100_000
_TREND_NOISE: Final = 1 / 64
_WAVE_HEIGHT: Final = 0.004
_WAVE_CANDLES: Final = 24
_WAVE_NOISE: Final = 1 / 8


def price(symbol: str, close_time_ms: int, interval_ms: int) -> float:
    """The close [quote currency] of the candle that closes at `close_time_ms`."""
    number = close_time_ms // interval_ms
    block, i = divmod(number, _BLOCK)
    path = _noise(symbol, block)[i]
    if "BTC" in symbol:
        # Up for one leg, down for the next.
        leg = number % (2 * _TREND_LEG)
        path = path * _TREND_NOISE + _TREND_PER_CANDLE * min(leg, 2 * _TREND_LEG - leg)
    elif "ETH" in symbol:
        path = path * _WAVE_NOISE + _WAVE_HEIGHT * math.sin(2 * math.pi * number / _WAVE_CANDLES)
    return round(_base(symbol) * math.exp(path), 6)


class SyntheticFeeder:
    """Writes the candles that are due to the input stream, as the upstream publisher would."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        now_ms: Callable[[], float] = lambda: time.time() * 1_000,
    ) -> None:
        self._client = client
        self._max_ahead_ms = settings.max_ahead_ms
        self._stream = settings.keys.input
        self._interval = settings.candle_interval
        self._interval_ms = settings.candle_interval_ms
        self._symbols = sorted(filter(settings.has, settings.wanted_symbols or SYMBOLS))
        self._now_ms = now_ms
        self._next_ms = self._first_close_time_ms()

    @property
    def seconds_to_feed(self) -> float:
        return max(0.0, (self._next_ms - self._now_ms()) / 1_000)

    def feed(self) -> None:
        if self.seconds_to_feed > 0:
            return
        most = _KEPT_CANDLES_PER_SYMBOL * len(self._symbols)
        with self._client.pipeline(transaction=False) as writes:
            for entry_id, candle in self._due():
                fields: Any = encode_envelope(candle, source="synthetic")
                writes.xadd(self._stream, fields, id=entry_id, maxlen=most, approximate=True)
            for reply in writes.execute(raise_on_error=False):
                if isinstance(reply, redis.RedisError) and _IS_THERE not in str(reply):
                    raise reply

    def _due(self) -> Iterator[tuple[str, Candle]]:
        """In the order of their ids, so that an entry is only refused if it is in the stream."""
        while self._next_ms <= self._now_ms():
            for number, symbol in enumerate(self._symbols):
                candle = synthetic_candle(symbol, self._next_ms, self._interval, self._interval_ms)
                yield f"{self._next_ms}-{number}", candle
            self._next_ms += self._interval_ms

    def _first_close_time_ms(self) -> int:
        """The close time of the last candle in the stream, because its step may be incomplete; but
        no further back than the number of candles needed at start.
        """
        newest = int(self._now_ms()) // self._interval_ms * self._interval_ms - 1
        first = newest - (CANDLES_AT_START - 1) * self._interval_ms
        last: Any = self._client.xrevrange(self._stream, count=1)
        for entry_id, fields in last:
            try:
                fed = decode_candle(fields, entry_time_ms(entry_id), self._max_ahead_ms).close_time
            except CandleRejected:
                continue
            first = max(first, fed)
        return first


def synthetic_candle(symbol: str, close_time_ms: int, interval: str, interval_ms: int) -> Candle:
    close = price(symbol, close_time_ms, interval_ms)
    before = price(symbol, close_time_ms - interval_ms, interval_ms)
    return Candle(
        symbol=symbol,
        interval=interval,
        open=before,
        high=max(before, close),
        low=min(before, close),
        close=close,
        volume=1.0,
        open_time=close_time_ms - interval_ms + 1,
        close_time=close_time_ms,
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def _base(symbol: str) -> float:
    return float(10 ** (_digest(symbol) % 5))


@lru_cache(maxsize=256)
def _noise(symbol: str, block: int) -> npt.NDArray[np.float64]:
    """A random walk over one block that ends where it began, seeded by `symbol` and `block` only.
    It uses numpy's legacy generator because its numbers are guaranteed never to change.
    """
    steps = np.random.RandomState(_digest(f"{symbol}:{block}")).standard_normal(_BLOCK)
    walk = np.cumsum(steps) * _NOISE_PER_CANDLE
    bridge: npt.NDArray[np.float64] = walk - walk[-1] * np.arange(1, _BLOCK + 1) / _BLOCK
    return bridge
