"""What flows through the pipeline: entries, what each one is, and what they change."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from marketstate.core.window import Window
from marketstate.schemas.candle import Candle, CandleRejected
from marketstate.schemas.entry_id import parse_entry_id
from marketstate.schemas.longer import TimedClose
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.engine.mark import Mark

History = tuple[Sequence[int], Sequence[float]]
"""Close times in ms and closes, oldest first."""

Older = Callable[[str, str, Sequence[TimedClose]], History]
"""Given a symbol, an interval, and the closes that a window begins with: what a cache has in front
of them; nothing if no cache has any.
"""


def no_caches(_symbol: str, _interval: str, _closes: Sequence[TimedClose]) -> History:
    return (), ()


class Entry(NamedTuple):
    """One entry of the input stream, and the shard it was routed to."""

    shard: int
    id: bytes
    fields: Mapping[bytes, bytes]

    @property
    def order(self) -> tuple[int, int]:
        return parse_entry_id(self.id)

    def __str__(self) -> str:
        return f"entry {self.id.decode()}"


class Ignored(NamedTuple):
    """A candle that does not concern us, by a documented rule."""

    counter: str = "ignored"
    """Or `unclosed`: an update of a candle that has not closed."""
    why: str = ""
    """For people; empty if there is nothing to tell."""


class Lost(NamedTuple):
    """An entry that was trimmed after it had been routed."""


ENDS: Final = (
    *("applied", "duplicate", "revised", "late"),
    *("ignored", "unclosed", "dead", "lost"),
)
"""The counters of which every entry has exactly one."""


class Reading(NamedTuple):
    entry: Entry
    order: tuple[int, int]
    """`entry.order`, which is needed many times."""
    found: Candle | Ignored | Lost | CandleRejected


class Unforeseen(CandleRejected):
    """What went wrong while an entry was read is a mistake of ours."""


@dataclass(slots=True)
class Memory:
    """What is remembered of a symbol: the same as Redis holds, and when it was seen."""

    window: Window
    mark: Mark = field(default_factory=Mark)
    lacks_closes: bool = False
    """A cache may have them: the window was longer before, or has never been long enough."""
    seen_s: float = field(default_factory=time.monotonic)
    """When the worker had its last candle in hand, or had loaded it; by `time.monotonic`."""
    longer: "dict[str, Memory]" = field(default_factory=dict)
    """The same of each longer interval of which there is any."""

    @property
    def lost_its_window(self) -> bool:
        """A state was published from closes that are gone."""
        return self.lacks_closes and self.mark.close_time_ms > 0


class Damaged(NamedTuple):
    """In place of the memory of a symbol whose keys hold what no worker has written."""

    name: bytes
    reason: str
    """What was found, and how to repair it."""
    is_ours: bool = False
    """The mistake is ours: there is nothing to repair, until another worker takes the shard."""


MemoryOf = Callable[[int, str], Memory | Damaged | None]


@dataclass
class SymbolChange:
    """What a batch adds to the window of a symbol, and to its emission mark."""

    shard: int
    before: Window
    mark: Mark
    close_times_ms: list[int] = field(default_factory=list)
    closes: list[float] = field(default_factory=list)
    last_close_time_ms: int = 0
    """Only later candles are applied; 0 before the first."""
    starts_over: bool = False
    """What Redis has of the window is replaced."""
    lacks_closes: bool = False
    """As in `Memory`."""
    longer: dict[str, Memory] = field(default_factory=dict)
    """As in `Memory` of the symbol, and the same object: what is remembered, not what the batch
    changes.
    """
    kept_n: int = field(init=False)
    """How many closes there are `before`."""

    def __post_init__(self) -> None:
        self.kept_n = len(self.before)

    def moved(self, committed_ms: int = 0) -> Memory:
        """What is remembered from now on. `before` becomes the window after the batch; the time is
        that of the commit by Redis's clock, 0 if it is not known and not needed.
        """
        self.before.extend(self.close_times_ms, self.closes)
        mark = self.mark
        if mark.close_time_ms and not mark.published_ms:
            mark = mark._replace(published_ms=committed_ms)
        return Memory(self.before, mark)

    @property
    def length(self) -> int:
        return self.kept_n + len(self.closes)

    @property
    def all_closes(self) -> list[TimedClose]:
        """Those before, and those of the batch so far. It takes long to list them."""
        before = self.before
        times_ms = [before.close_time_ms(i) for i in range(len(before))]
        return [
            *zip(times_ms, before.closes().tolist(), strict=True),
            *zip(self.close_times_ms, self.closes, strict=True),
        ]

    @property
    def last_close(self) -> float | None:
        """The close at `last_close_time_ms`; None if it is not known any more."""
        if self.closes:
            at_ms, close = self.close_times_ms[-1], self.closes[-1]
        elif self.before:
            at_ms, close = self.before.last_close_time_ms, float(self.before.closes()[-1])
        else:
            return None
        return close if at_ms == self.last_close_time_ms else None


class DeadLetter(NamedTuple):
    entry: Entry
    error: str


@dataclass
class Changes:
    """Everything that one batch changes. It has no effect until it is committed."""

    finished: dict[int, list[bytes]] = field(default_factory=dict)
    symbols: dict[str, SymbolChange] = field(default_factory=dict)
    longer: dict[str, dict[str, SymbolChange]] = field(default_factory=dict)
    """The same for each longer interval, by its name."""
    records: list[MarketStateRecord] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    passed_over: list[tuple[int, str]] = field(default_factory=list)
    """Shard and name of the symbols of which no candle was applied."""
    retired: dict[int, list[str]] = field(default_factory=dict)
    """For each shard the symbols to forget."""
    counters: Counter[str] = field(default_factory=Counter)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """The counter that each belongs to, and its text."""
    told_once: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The same, of what is logged only the first time; by what it is about."""
    errors: list[str] = field(default_factory=list)

    def memories(self, committed_ms: int = 0) -> Iterator[tuple[int, str, Memory]]:
        """Shard, symbol, and what is remembered of it from now on: its window moves. The time is as
        in `SymbolChange.moved`.
        """
        for interval, of_interval in self.longer.items():
            for change in of_interval.values():
                change.longer[interval] = change.moved(committed_ms)
        for symbol, change in self.symbols.items():
            memory = change.moved(committed_ms)
            memory.longer = change.longer
            yield change.shard, symbol, memory

    def shard_of(self, symbol: str) -> int:
        """Of a symbol that changes in any interval."""
        every = (self.symbols, *self.longer.values())
        return next(some[symbol].shard for some in every if symbol in some)

    def count(self, counter: str, warning: str | None = None) -> None:
        """`warning` is for the log, once the batch is committed."""
        self.counters[counter] += 1
        if warning:
            self.warnings.append((counter, warning))

    def tell_once(self, counter: str, about: str, warning: str) -> None:
        self.told_once.setdefault(about, (counter, warning))

    def reject(self, entry: Entry, error: str) -> None:
        self.counters["dead"] += 1
        self.dead.append(DeadLetter(entry, error))
