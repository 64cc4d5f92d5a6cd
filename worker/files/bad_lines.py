"""What happens to a bad line of a file: an error, or it is skipped, counted and reported."""

from collections.abc import Callable, Iterator
from typing import Final

from marketstate.worker.errors import FileUnusable

OnBad = Callable[[str, str], None]
"""Called with the place (file and line) and what is wrong; raises, or counts it."""

SHOWN: Final = 5


def refuse(where: str, what: str) -> None:
    raise FileUnusable(f"{where}: {what}")


class Skipped:
    """Counts what was skipped, and keeps the first few for the report."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def __call__(self, where: str, what: str) -> None:
        self.count += 1
        if len(self._first) < SHOWN:
            self._first.append(f"{where}: {what}")

    def report(self, what: str = "lines skipped, or after a gap") -> Iterator[str]:
        if self.count:
            yield f"{what}: {self.count:,}"
            yield from (f"  {line}" for line in self._first)
            if self.count > SHOWN:
                yield f"  ... and {self.count - SHOWN:,} more"
