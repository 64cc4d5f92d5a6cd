"""The emission mark of a symbol: what the workers remember of its last published state.

It is stored as `<close time in ms>`, or as `<close time in ms>:<regime>:<publishing time in ms>` if
the settings need more. `commit.lua` fills in the publishing time, by Redis's clock.
"""

import re
from typing import Final, NamedTuple

from marketstate.schemas.times import LATEST_MS

_MARK: Final = re.compile(rb"([0-9]{1,15})(?::([a-z]{0,16})(?::([0-9]{0,15}))?)?")


class Mark(NamedTuple):
    close_time_ms: int = 0
    """0 before the first emission."""
    regime: str = ""
    """Empty if unknown."""
    published_ms: int = 0
    """By Redis's clock; 0 if unknown."""

    def text(self, *, short: bool) -> str:
        """An unknown publishing time stays empty, for `commit.lua` to fill in."""
        if short or not self.close_time_ms:
            return str(self.close_time_ms)
        return f"{self.close_time_ms}:{self.regime}:{self.published_ms or ''}"


def parse_mark(text: bytes) -> Mark:
    """Raises ValueError for text that is not a mark."""
    match = _MARK.fullmatch(text)
    if match is None or int(match[1]) > LATEST_MS:
        raise ValueError(f"{text[:80]!r} is not the time of a close")
    close_time, regime, published = match.groups(default=b"")
    return Mark(int(close_time), regime.decode(), int(published or 0))
