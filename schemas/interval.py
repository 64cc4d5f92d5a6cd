"""Candle intervals: a number and a unit, such as `1m` or `4h`, and how others spell them."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

# `$` would allow a line feed behind it.
INTERVAL_PATTERN: Final = r"\A[1-9][0-9]{0,3}[smhdw]\Z"
"""What a worker may be set to: months differ in length."""
_INTERVAL: Final = re.compile(r"[1-9][0-9]{0,3}[smhdwM]")
_UNITS_MS: Final = {
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "M": 2_629_746_000,
}
_SPELLED: Final = {
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
    "w": "w wk week weeks",
    "M": "mo mon month months",
}
_UNITS: Final = {word: unit for unit, words in _SPELLED.items() for word in words.split()}
_NUMBERS: Final = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8,
    "ten": 10, "twelve": 12, "fifteen": 15, "thirty": 30,
}  # fmt: skip
_SPELLING: Final = re.compile(r"([1-9][0-9]{0,3})[ _-]?([A-Za-z]{1,7})")
_WORDS: Final = re.compile(r"([a-z]{3,7})[ _-]([a-z]{3,7})")
_ISO_8601: Final = re.compile(r"P(?:([1-9][0-9]{0,3})([DWM])|T([1-9][0-9]{0,3})([HMS]))")
_MAX_CHARACTERS: Final = 20


@lru_cache(maxsize=1_024)
def interval_ms(text: str) -> int | None:
    """The length of a candle interval such as `1m`; None if the text is not an interval.

    A month counts as its average, 30.44 days, so that many in a row can be counted.
    """
    if not _INTERVAL.fullmatch(text):
        return None
    return int(text[:-1]) * _UNITS_MS[text[-1]]


@lru_cache(maxsize=1_024)
def read_interval(text: str) -> str | None:
    """An interval as exchanges spell it, in our notation: `1H`, `1hour`, `ONE_HOUR` and `PT1H` are
    `1h`, `1M` and `1mo` are months. None if it cannot be read, or in more than one way: `60` is
    minutes on some exchanges and seconds on others.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    if match := _SPELLING.fullmatch(text):
        number, word = match.groups()
        unit = "M" if word == "M" else _UNITS.get(word.lower())
    elif match := _ISO_8601.fullmatch(text):
        days, unit_of_days, hours, unit_of_hours = match.groups()
        number = days or hours
        unit = {"D": "d", "W": "w", "M": "M"}[unit_of_days] if days else unit_of_hours.lower()
    elif match := _WORDS.fullmatch(text.lower()):
        number, unit = str(_NUMBERS.get(match[1], "")), _UNITS.get(match[2])
    else:
        return None
    return f"{number}{unit}" if number and unit else None


@lru_cache(maxsize=1_024)
def length_ms(text: str) -> int | None:
    """The length of an interval, however it is spelled; None if it cannot be read."""
    return interval_ms(read_interval(text) or "")


def close_time_ms(open_time_ms: int, interval: str) -> int:
    """The last millisecond of the candle that opens then; `interval` in our notation."""
    if interval[-1] != "M":
        return open_time_ms + (interval_ms(interval) or 1) - 1
    opened = datetime.fromtimestamp(open_time_ms / 1_000, UTC)
    months = opened.month - 1 + int(interval[:-1])
    after = opened.replace(year=opened.year + months // 12, month=months % 12 + 1, day=1)
    return int(after.timestamp() * 1_000) - 1


def state_step_ms(candle_interval_ms: int, publish_interval_ms: int) -> int:
    """Time between two states of a symbol without missing candles: a whole number of candles."""
    return -(-publish_interval_ms // candle_interval_ms) * candle_interval_ms
