"""How many entries a batch may have: all of the setting, unless that would take too long.

A batch that outlived its lease would be lost, and the next one too: with a costly theta, or where
entries are so large that reading them outlasts the socket's patience. So the first batch is small,
each next one at most double, and none longer than what was seen to fit into the time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

FIRST: Final = 16


class Pace:
    def __init__(self, batch: int, longest_s: float) -> None:
        self._batch = batch
        self._longest_s = longest_s
        self.most = min(FIRST, batch)

    @contextmanager
    def of(self, entries: int) -> Iterator[None]:
        """Take the time of a batch of so many entries."""
        began_s = time.monotonic()
        yield
        entry_s = max((time.monotonic() - began_s) / entries, 1e-9)
        in_time = int(self._longest_s / entry_s)
        self.most = max(1, min(self._batch, 2 * self.most, in_time))
