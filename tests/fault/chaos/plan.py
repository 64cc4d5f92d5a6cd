"""What a run is asked to do, and what it reports."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fault.chaos.entries import AHEAD_MS, MINUTE_MS, MOST_AHEAD_S, MOST_SYMBOLS
from tests.fault.chaos.faults.table import TABLE, UPGRADE
from tests.fault.chaos.history import History
from tests.fault.chaos.names import Names

KINDS: Final = frozenset(TABLE)
MOST_CANDLES: Final = (MOST_AHEAD_S * 1_000 - AHEAD_MS) // MINUTE_MS * MOST_SYMBOLS
"""With more, the last ones would close further ahead than workers allow."""


@dataclass(frozen=True)
class Plan:
    seed: int
    candles: int
    faults: int
    workers: int
    kinds: Collection[str] = KINDS
    breakage: str | None = None
    with_reference: bool = True
    """Compare the bytes with those of an undisturbed worker."""
    older: Path | None = None
    """Redis 6.2, to begin with; without it there is no upgrade."""

    partitions: int = 0
    """On a Redis Cluster, so many; 0 for one Redis and one group."""
    intervals: bool = False
    """With longer intervals, too."""
    bridged: bool = False
    """Feed one stream, which a bridge brings to the partitions."""

    @property
    def names(self) -> list[Names]:
        """Those of each group."""
        count = self.partitions
        return [Names(each, count) for each in range(count)] if count else [Names()]

    @property
    def possible_kinds(self) -> frozenset[str]:
        where = {"anywhere", "cluster" if self.partitions else "one server"}
        where.add("bridge" if self.bridged else "without a bridge")
        fit = {name for name in self.kinds if TABLE[name].where in where}
        return frozenset(fit) - (frozenset() if self.older else {UPGRADE})


@dataclass
class Report:
    histories: list[History]
    """Of the group, or of each partition."""
    faults: Counter[str] = field(default_factory=Counter)
    bit: Counter[str] = field(default_factory=Counter)
    """How many of the faults met what they are meant to disturb."""
    fed_again: int = 0
