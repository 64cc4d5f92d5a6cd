"""What must become of each entry, told by the decoder and by a plain twin of the rules.

It knows nothing of shards, batches or Redis: every entry has exactly one end.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Final

from schemas.candle import Candle, CandleRejected, decode_candle
from schemas.interval import interval_ms
from tests.support.candles import MINUTE_MS
from tests.support.small_workers import WINDOW_SIZE

RETIRE_AFTER_MS: Final = 30 * 86_400_000
"""The default of MARKETSTATE_RETIRE_AFTER."""

Window = deque[tuple[int, float]]


def _window() -> Window:
    return deque(maxlen=WINDOW_SIZE)


class Model:
    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.windows: dict[str, Window] = defaultdict(_window)

    def add(self, fields: Mapping[bytes, bytes], entry_ms: int) -> str:
        """The end of the next entry."""
        try:
            end = self._end(decode_candle(fields, entry_ms))
        except CandleRejected:
            end = "dead"
        self.ends[end] += 1
        return end

    def _end(self, candle: Candle) -> str:
        is_ours = candle.interval is None or interval_ms(candle.interval) == MINUTE_MS
        if not candle.is_closed or not is_ours:
            return "ignored"
        window = self.windows[candle.symbol]
        last_ms = window[-1][0] if window else 0
        if candle.close_time <= last_ms:
            return "duplicate" if candle.close_time == last_ms else "late"
        if candle.close_time - last_ms >= RETIRE_AFTER_MS:
            # The symbol may have been retired meanwhile, so its window starts over.
            window.clear()
        window.append((candle.close_time, candle.close))
        return "applied"
