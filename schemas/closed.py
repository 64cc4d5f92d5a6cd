"""Whether a candle has closed: what its flags say, or else when its entry was written.

Feeds send updates of a candle before it closes. They say so by a flag, under different names, or
not at all.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

FLAGS: Final = (
    *("is_closed", "isClosed", "closed", "confirm", "x"),
    *("is_final", "isFinal", "final", "complete"),
)
"""The names of the flag: `true`, `1`, `false` or `0` in any case, as text or not."""
MAY_BE_ELSE: Final = "x"
"""The one that feeds also use for something else: it is a flag only if it can be read as one."""

# Of an interval: closed candles are written at most this much before their close time.
_EARLY: Final = 20


def flag_of(name: str, value: object) -> bool | None:
    """What one flag says; None if it says nothing, because it is null or empty, or is not a flag.

    Raises ValueError for what cannot be read.
    """
    try:
        said: bool | None = msgspec.convert(
            None if value == "" else value, bool | None, strict=False
        )
    except msgspec.ValidationError:
        if name.lower() == MAY_BE_ELSE:
            return None
        shown = repr(value)[:40]
        raise ValueError(f"{name} is {shown}; expected true, false, 1 or 0") from None
    return said


def closed_by_flags(flags: Iterable[tuple[str, object]]) -> bool | None:
    """What all flags of a candle say; None if none says anything.

    Raises ValueError for flags that contradict each other, or that cannot be read.
    """
    names = {said: name for name, value in flags if (said := flag_of(name, value)) is not None}
    if len(names) == 2:
        closed, running = names[True], names[False]
        raise ValueError(
            f"{closed} says that the candle has closed, but {running} says that it has not"
        )
    return next(iter(names), None)


def is_early(close_time_ms: int, entry_ms: int, interval_ms: int, max_ahead_ms: int) -> bool:
    """Whether an entry was written clearly before the candle in it closes, so that a candle without
    a flag has not closed yet.
    """
    return close_time_ms - entry_ms > min(max_ahead_ms, interval_ms // _EARLY)
