"""What happens to a bad line of a file: an error, or it is skipped, counted and reported."""

from collections.abc import Callable, Iterable, Iterator
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
        self.first: list[str] = []

    def __call__(self, where: str, what: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{where}: {what}")

    def add(self, count: int, first: Iterable[str]) -> None:
        """As many more, of which these are the first few."""
        self.count += count
        self.first = [*self.first, *first][:SHOWN]

    def report(self, what: str) -> Iterator[str]:
        if self.count:
            yield f"{what}: {self.count:,}"
            yield from (f"  {line}" for line in self.first)
            if self.count > SHOWN:
                yield f"  ... and {self.count - SHOWN:,} more"
