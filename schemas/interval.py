"""Candle intervals: a number and a unit, such as `1m` or `4h`."""

import re
from functools import lru_cache
from typing import Final

# `$` would allow a line feed behind it.
INTERVAL_PATTERN: Final = r"\A[1-9][0-9]{0,3}[smhdw]\Z"
_UNITS_MS: Final = {
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}


@lru_cache(maxsize=1_024)
def interval_ms(text: str) -> int | None:
    """The length of a candle interval such as `1m`; None if the text is not an interval."""
    if not re.match(INTERVAL_PATTERN, text):
        return None
    return int(text[:-1]) * _UNITS_MS[text[-1]]


def state_step_ms(candle_interval_ms: int, publish_interval_ms: int) -> int:
    """Time between two states of a symbol without missing candles: a whole number of candles."""
    return -(-publish_interval_ms // candle_interval_ms) * candle_interval_ms
