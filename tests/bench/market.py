"""Candles for benches: any number of symbols, full windows from the start, without end."""

import math
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Final

import numpy as np
import redis

from marketstate.core.theta import merged_theta
from marketstate.schemas.candle import Candle, encode_envelope
from marketstate.worker.engine import window_codec
from marketstate.worker.keys import shard_of
from marketstate.worker.settings import Settings
from tests.support.candles import RING, candle

SETTINGS: Final = Settings(theta=merged_theta())
HOUR: Final = 60
SYMBOLS_AT_ONCE: Final = 200


class Market:
    """Random walks of rounded prices, with ties; every symbol closes a candle in each step."""

    def __init__(self, symbols: int) -> None:
        self.symbols = [f"SYM{i}USDT" for i in range(symbols)]
        self._rng = np.random.RandomState(7)
        self._paths = np.zeros(symbols)
        self._history = np.array([self._step() for _ in range(RING)])
        self._candles = self._endless_candles()

    def entries(self, closes: int) -> list[Any]:
        """The fields of the next entries, as the upstream publisher writes them."""
        return [encode_envelope(one, source="bench") for one in islice(self._candles, closes)]

    def fill(self, client: redis.Redis) -> None:
        """Write to Redis what a worker leaves after a full window of each symbol.

        The last emissions are spread over the minutes of the last hour, so that with hourly
        emission, one symbol in 60 is due at any time.
        """
        keys = SETTINGS.keys
        close_times_ms = [candle("", number, 1.0).close_time for number in range(RING)]
        for first in range(0, len(self.symbols), SYMBOLS_AT_ONCE):
            with client.pipeline(transaction=False) as writes:
                for i, symbol in enumerate(self.symbols[first : first + SYMBOLS_AT_ONCE], first):
                    closes = self._history[:, i].tolist()
                    packed: list[Any] = window_codec.pack(zip(close_times_ms, closes, strict=True))
                    writes.rpush(keys.window(symbol), *packed)
                    marks = keys.marks(shard_of(symbol, SETTINGS.shards))
                    writes.hset(marks, symbol, str(close_times_ms[-1 - i % HOUR]))
                writes.execute()

    def _step(self) -> list[float]:
        self._paths += self._rng.standard_normal(len(self.symbols)) * 0.0004
        return [round(100 * math.exp(path), 2) for path in self._paths.tolist()]

    def _endless_candles(self) -> Iterator[Candle]:
        for number in count(RING):
            for symbol, close in zip(self.symbols, self._step(), strict=True):
                yield candle(symbol, number, close)
