"""When a window starts over, in the commands that calculate states from candles.

They go by the same settings as a worker, so that they show what a worker would publish.
"""

from collections.abc import Callable

from schemas.interval import interval_ms
from worker.settings import Settings

StartsOver = Callable[[int, int], bool]
"""Whether the window starts over between two close times that follow each other [ms]."""


def starting_over(settings: Settings, interval: str) -> StartsOver:
    after_ms = settings.starts_over_after_ms_of(interval_ms(interval) or 1)
    return lambda last_ms, close_time_ms: close_time_ms - last_ms >= after_ms
