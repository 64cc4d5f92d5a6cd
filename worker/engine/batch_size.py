"""How many entries, or overdue states, a batch may have: all of the setting, unless too long.

A batch that outlived its lease would be lost, and the next one too: with a costly theta, or where
entries are so large that reading them outlasts the socket's patience. So the first batch is small,
each next one at most double, and none longer than what was seen to fit into the time.
"""

from typing import Final

FIRST: Final = 16


class Pace:
    def __init__(self, batch: int, longest_s: float) -> None:
        self._batch = batch
        self._longest_s = longest_s
        self.most = min(FIRST, batch)

    def took(self, seconds: float, entries: int) -> None:
        """Learn from a batch, its reading included."""
        in_time = int(self._longest_s * entries / max(seconds, 1e-9))
        self.most = max(1, min(self._batch, 2 * self.most, in_time))
