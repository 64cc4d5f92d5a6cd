"""Times as others write them: in s, ms, us or ns since 1970, or as ISO 8601.

No plausible time can be read in two of these units: in another one, it would be before the year
2000 or after 2100.
"""

import math
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01
# Of a unit in ms, as a fraction: s, ms, us, ns.
_UNITS: Final = ((1_000, 1), (1, 1), (1, 1_000), (1, 1_000_000))
_NUMBER: Final = re.compile(r"[0-9]{1,19}(\.[0-9]{0,9})?")
_DIGITS_OF_MS: Final = 13
_MAX_CHARACTERS: Final = 40
_MINUTE_MS: Final = 60_000


def time_ms(text: str) -> int:
    """The time in ms since 1970; what is finer is cut off. A text without a zone is UTC.

    Raises ValueError if the text is not a time between the years 2000 and 2100, or could be read in
    two ways, like 02/03/2025.
    """
    shown = repr(text[:_MAX_CHARACTERS])
    if _NUMBER.fullmatch(text):
        whole = text.partition(".")[0]
        for ms, fraction_of_ms in _UNITS:
            # Of whole numbers exactly: a float cannot hold a time in ns.
            exact = int(whole) * ms // fraction_of_ms
            if EARLIEST_MS <= exact <= LATEST_MS:
                is_whole = fraction_of_ms > 1 or ms == 1
                return exact if is_whole else math.floor(float(text) * ms + 1e-6)
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"the time {shown}... is longer than {_MAX_CHARACTERS} characters")
    try:
        read = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        raise ValueError(
            f"{shown} is not a time; expected s, ms, us or ns since 1970, or ISO 8601 such as "
            "2025-01-31 23:59:59"
        ) from None
    ms = int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1_000 + 1e-6)
    if not EARLIEST_MS <= ms <= LATEST_MS:
        raise ValueError(f"the time {shown} is not between the years 2000 and 2100")
    return ms


def times_ms(texts: Sequence[str]) -> list[int]:
    """What `time_ms` makes of each, many times as fast where all are whole ms, as most files have
    them. Raises ValueError if it does for any.
    """
    if {*map(len, texts)} == {_DIGITS_OF_MS}:
        text = "".join(texts)
        if text.isdecimal() and text.isascii():
            exact = [*map(int, texts)]
            if min(exact) >= EARLIEST_MS and max(exact) <= LATEST_MS:
                return exact
    return [*map(time_ms, texts)]


def are_close_times(times_ms: Collection[int], interval_ms: int) -> bool:
    """Whether all are a millisecond, or a second, before a candle of this interval could begin."""
    step_ms = min(interval_ms, _MINUTE_MS)
    ends_ms = (step_ms - 1, step_ms - (1_000 if step_ms == _MINUTE_MS else 1))
    return bool(times_ms) and all(ms % step_ms in ends_ms for ms in times_ms)
