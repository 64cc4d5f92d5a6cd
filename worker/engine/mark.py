"""The emission mark of a symbol: what the workers remember of its last published state.

It is stored as `<close time in ms>`, or as `<close time in ms>:<regime>:<publishing time in ms>` if
the settings need more. `commit.lua` fills in the publishing time, by Redis's clock.
"""

from typing import NamedTuple


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
    close_time, _, rest = text.decode().partition(":")
    regime, _, published = rest.partition(":")
    return Mark(int(close_time), regime, int(published or 0))
