"""What must become of each entry, told by the decoder and by a plain twin of the rules.

It knows nothing of shards, batches or Redis: every entry has exactly one end.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Final

from marketstate.schemas.candle import Candle, CandleRejected, decode_candle
from marketstate.schemas.interval import length_ms
from tests.support.candles import MINUTE_MS
from tests.support.feeding import NEEDED
from tests.support.small_workers import WINDOW_SIZE

RETIRE_AFTER_MS: Final = 30 * 86_400_000
"""The default of MARKETSTATE_RETIRE_AFTER."""
MAX_GAP: Final = NEEDED
"""The default of MARKETSTATE_MAX_GAP."""

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
        if candle.interval is not None and length_ms(candle.interval) != MINUTE_MS:
            return "ignored"
        if not candle.is_closed:
            return "unclosed"
        window = self.windows[candle.symbol]
        if window:
            last_ms, last_close = window[-1]
            after_ms = candle.close_time - last_ms
            if abs(after_ms) < MINUTE_MS / 2:
                return "duplicate" if candle.close == last_close else "revised"
            if after_ms < 0:
                return "late"
            if after_ms >= RETIRE_AFTER_MS or round(after_ms / MINUTE_MS) - 1 > MAX_GAP:
                # The symbol may have been retired meanwhile, or older prices are no history.
                window.clear()
        window.append((candle.close_time, candle.close))
        return "applied"
