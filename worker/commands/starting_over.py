"""When a window starts over, in the commands that calculate states from candles.

They go by the same settings as a worker, so that they show what a worker would publish.
"""

from collections.abc import Callable

from marketstate.schemas.interval import interval_ms
from marketstate.schemas.sequence import missing_between
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import Settings

StartsOver = Callable[[int, int], bool]
"""Whether the window starts over between two close times that follow each other [ms]."""


def gap_in_words(symbol: str, last_ms: int, close_time_ms: int) -> str:
    return f"no candle of {symbol} closed between {utc(last_ms)} and {utc(close_time_ms)} UTC"


def starting_over(settings: Settings, interval: str) -> StartsOver:
    step_ms = interval_ms(interval) or 1
    after_ms = settings.starts_over_after_ms_of(step_ms)

    def starts_over(last_ms: int, close_time_ms: int) -> bool:
        # Candles of a month are further apart than a worker waits for the next one.
        is_gap = missing_between(last_ms, close_time_ms, step_ms) > 0
        return is_gap and close_time_ms - last_ms >= after_ms

    return starts_over
