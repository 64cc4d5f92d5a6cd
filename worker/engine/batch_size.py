"""How many entries, or overdue states, a batch may have: the setting, unless that takes too long.

A batch that takes longer than its lease is lost, and so is the next one: with a costly theta, or
when entries are so large that reading them takes longer than the socket's timeout. So the first
batch is small, each batch is at most twice as large as the one before, and none is larger than
what was seen to fit into the time. When nothing is left to read, the next batch is small again.
"""

from typing import Final

FIRST: Final = 16
AFTER_A_PAUSE: Final = 100


class BatchSize:
    def __init__(self, batch: int, longest_s: float) -> None:
        self._batch = batch
        self._longest_s = longest_s
        self.most = min(FIRST, batch)

    def took(self, seconds: float, entries: int) -> None:
        """Learn from a batch, its reading included."""
        in_time = int(self._longest_s * entries / max(seconds, 1e-9))
        self.most = max(1, min(self._batch, 2 * self.most, in_time))

    def took_all(self) -> None:
        """Nothing is left to read. So the next batch is small again, and the first states of a
        burst do not wait until its last ones are calculated.
        """
        self.most = min(self.most, AFTER_A_PAUSE)
