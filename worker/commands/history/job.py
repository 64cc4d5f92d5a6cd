"""What a history is made of: its files, its runs, and the units that processes take one by one.

Of candle files, a unit is one symbol. Every unit of recordings reads all of them and takes its
share of the symbols. A job goes to other processes as it is.
"""

from pathlib import Path
from typing import NamedTuple

from marketstate.worker.commands.replay.sources import Sources
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.findings import Findings
from marketstate.worker.keys import shard_of
from marketstate.worker.settings import Settings


class Run(NamedTuple):
    """The calculation with one theta."""

    theta: str
    """Its name."""
    settings: Settings


class Unit(NamedTuple):
    number: int
    symbol: str | None
    """None in recordings."""


class Job(NamedTuple):
    paths: tuple[Path, ...]
    said: Said
    skip_bad: bool
    allow_gaps: bool
    runs: tuple[Run, ...]
    intervals: tuple[str, ...]
    """Those whose states are wanted."""
    from_ms: int
    """Candles that close earlier fill windows, and nothing is published for them."""
    to_ms: int
    """Candles that close then or later do not count."""
    symbols: tuple[str, ...]
    """Of candle files."""
    shares: int
    """Of recordings."""
    folder: Path
    """Of the parts."""

    @property
    def units(self) -> list[Unit]:
        if self.symbols:
            return [Unit(i, symbol) for i, symbol in enumerate(self.symbols)]
        return [Unit(i, None) for i in range(self.shares)]

    def share_of(self, symbol: str) -> int:
        return shard_of(symbol, self.shares)

    def sources(self) -> Sources:
        return Sources(self.paths, self.runs[0].settings, keep_ids=False, said=self.said)

    def findings(self) -> Findings:
        return Findings(skip_bad=self.skip_bad, allow_gaps=self.allow_gaps)
