"""The size of the terminal that a stream writes to."""

import os
from typing import IO, Final, NamedTuple

# For terminals that do not report a size, such as serial lines.
_UNKNOWN: Final = (80, 24)


class Size(NamedTuple):
    columns: int
    lines: int


def terminal_size(stream: IO[str]) -> Size | None:
    """The present size, or None if `stream` is not a terminal.

    The COLUMNS and LINES variables are not looked at: they may be outdated.
    """
    if not stream.isatty():
        return None
    columns, lines = os.get_terminal_size(stream.fileno())
    return Size(columns or _UNKNOWN[0], lines or _UNKNOWN[1])
