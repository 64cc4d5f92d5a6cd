"""The emission mark of a symbol: what was published of it last, as the workers remember it.

Written down as `<close time in ms>`, or `<close time in ms>:<regime>:<time of publishing in ms>`
where the settings need to know more. Redis puts the time of publishing in itself, when it writes.
"""

from typing import NamedTuple


class Mark(NamedTuple):
    close_time_ms: int = 0
    """0 before the first emission."""
    regime: str = ""
    """Empty where it is not known."""
    published_ms: int = 0
    """By Redis's clock; 0 where it is not known."""

    def text(self, *, short: bool) -> str:
        """Of a long one without the time of publishing, which is left to `commit.lua`."""
        if short or not self.close_time_ms:
            return str(self.close_time_ms)
        return f"{self.close_time_ms}:{self.regime}:{self.published_ms or ''}"


def parse_mark(text: bytes) -> Mark:
    """Raises ValueError for text that is no mark."""
    close_time, _, rest = text.decode().partition(":")
    regime, _, published = rest.partition(":")
    return Mark(int(close_time), regime, int(published or 0))
