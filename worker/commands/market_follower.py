"""Follows the markets of all partitions: the model that `top` and the page of `serve` show.

The states come from the output streams. Where a symbol has none there, because it publishes seldom,
the latest comes from its record.

While workers catch up with a backlog, states come faster than anybody could look at them, and to
read them all would take from the workers what they need. Then only the newest are read, and once
that is over, all that the streams have.
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from itertools import chain, islice
from typing import Final, NamedTuple

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.commands.markets import (
    STATES_IN_MEMORY,
    Market,
    entries_from,
    kept_of_each,
    latest_records,
    moved_on,
    readable,
)
from marketstate.worker.engine.all_partitions import AllPartitions, Answer, unread_partitions
from marketstate.worker.engine.status import Status
from marketstate.worker.errors import WorkerError
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.newest import StreamEntry, newest_entries

# What the output stream keeps by default; this limits how far back a regime's age is known.
HISTORY: Final = 10_000
# In one reading: more new states than that, and than two of each market, are a backlog.
_MOST_NEW: Final = 1_000
_MOST_NEW_OF_EACH: Final = 2
_MINUTE_S: Final = 60.0
# The id of the last entry, while there is none.
_NONE: Final = b"0-0"


class Followed(NamedTuple):
    markets: Mapping[str, Market]
    states_per_min: int | None
    """None while it `is_behind`."""
    unreadable: int
    """Entries that are not records of this version."""
    trouble: str
    """Why some partitions cannot be read at the moment; empty if all can."""
    is_behind: bool = False
    """So many states come that some are left out, until all are read again."""
    is_new: bool = False
    """All were read again: they may not follow those of the reading before."""


class Rate:
    """The rate of a growing count over the last minute.

    During the first minute it is not estimated: candles come in one moment of each minute.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, total: int, now_s: float) -> None:
        if self._seen and total < self._seen[-1][1]:
            self._seen.clear()  # the count was reset
        self._seen.append((now_s, total))
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - _MINUTE_S:
            self._seen.popleft()

    @property
    def known_in_s(self) -> int:
        """0 once it is known."""
        return max(0, math.ceil(_MINUTE_S - self._span_s))

    @property
    def per_min(self) -> float | None:
        if self.known_in_s:
            return None
        return (self._seen[-1][1] - self._seen[0][1]) / self._span_s * _MINUTE_S

    @property
    def _span_s(self) -> float:
        return self._seen[-1][0] - self._seen[0][0] if self._seen else 0.0


class MarketFollower:
    """Reads what is new of one interval, in the thread of who calls `read`."""

    def __init__(
        self, every: AllPartitions, settings: Settings, states_kept: int = STATES_IN_MEMORY
    ) -> None:
        """`settings` are those of the interval; `every` may be shared by several."""
        self._every = every
        parts = settings.each_partition()
        share = states_kept // len(parts)
        self._streams = {part.tag: _StreamFollower(part, share) for part in parts}
        self._loads = 0

    def read(self) -> Followed:
        """Raises WorkerError if nothing can be read."""
        answers = self._every.ask(lambda client, part: self._streams[part.tag].read(client))
        followers = self._streams.values()
        minute_ago_ms = (time.time() - _MINUTE_S) * 1_000
        is_behind = any(each.is_behind for each in followers)
        loads = sum(each.loads for each in followers)
        before, self._loads = self._loads, loads
        return Followed(
            dict(chain.from_iterable(each.markets.items() for each in followers)),
            None if is_behind else sum(each.states_since(minute_ago_ms) for each in followers),
            sum(each.unreadable for each in followers),
            str(unread_partitions(answers) or ""),
            is_behind=is_behind,
            is_new=0 < before < loads,
        )

    def complete(self, answers: Iterable[Answer[Status]]) -> None:
        """Once the symbols of the group are known: of those without a state in the stream, the
        latest is read, and what has been retired is forgotten.
        """
        symbols = {
            answer.tag: {one.symbol for one in answer.found.symbols}
            for answer in answers
            if answer.found is not None
        }
        incomplete = {tag for tag in symbols if self._streams[tag].differs_from(symbols[tag])}
        if not incomplete:
            return

        def complete(client: Client, part: Settings) -> None:
            if part.tag in incomplete:
                self._streams[part.tag].complete(client, symbols[part.tag])

        # Who reads next learns why, if Redis is away.
        with suppress(WorkerError):
            self._every.ask(complete)


class _StreamFollower:
    """Follows the output stream of one partition."""

    def __init__(self, settings: Settings, states_kept: int) -> None:
        self.markets: dict[str, Market] = {}
        self.unreadable = 0
        self.is_behind = False
        self.loads = 0
        """How often all was read."""
        self._settings = settings
        self._stream = settings.keys.output_stream
        self._states_kept = states_kept
        self._is_complete = False
        self._arrivals_ms: deque[int] = deque(maxlen=HISTORY)
        self._last_id = _NONE
        self._client: Client | None = None

    def read(self, client: Client) -> None:
        most = max(_MOST_NEW, _MOST_NEW_OF_EACH * len(self.markets))
        found = self._new(client, most) if client is self._client else None
        if found is None:
            known = self.markets.keys()
            self._load(newest_entries(client, self._stream, HISTORY))
            self._add_latest(client, known)
            self._client = client
        elif len(found) < most:
            self._take(found)
        else:
            newest = found if self.is_behind else newest_entries(client, self._stream, most)
            self._take_last_of_each(newest or found)  # the stream may just have been lost
            self.is_behind = True

    def _new(self, client: Client, most: int) -> list[StreamEntry] | None:
        """What follows the last entry, at most so many; None if all must be read: after a backlog,
        or if Redis has lost the stream, or has older data. Trimming never takes all of it.
        """
        if self.is_behind:
            newest = newest_entries(client, self._stream, most)
            is_reached = any(entry_id == self._last_id for entry_id, _ in newest)
            return None if is_reached or len(newest) < most else newest
        found = list(islice(entries_from(client, self._stream, self._last_id), most + 1))
        if self._last_id == _NONE:
            return found[:most]
        if not found:
            return None
        return found[1:] if found[0][0] == self._last_id else found[:most]

    def states_since(self, since_ms: float) -> int:
        """Counted from the times in the ids, so that it is available immediately."""
        while self._arrivals_ms and self._arrivals_ms[0] < since_ms:
            self._arrivals_ms.popleft()
        return len(self._arrivals_ms)

    def differs_from(self, symbols: Set[str]) -> bool:
        """Whether `complete` has something to do with these symbols of the group."""
        return not self._is_complete or not self.markets.keys() <= symbols

    def complete(self, client: Client, symbols: Set[str]) -> None:
        """A market that the group does not know stays while its record does: another program may
        publish it.
        """
        if not self._is_complete:
            self._add_latest(client, symbols)
            self._is_complete = True
        unknown = sorted(self.markets.keys() - symbols)
        kept = {symbol for symbol, _ in latest_records(client, self._settings, unknown)}
        for symbol in unknown:
            if symbol not in kept:
                del self.markets[symbol]

    def _add_latest(self, client: Client, symbols: Set[str]) -> None:
        """Of those that have no state in the stream."""
        lacking = sorted(symbols - self.markets.keys())
        for symbol, record in latest_records(client, self._settings, lacking):
            self.markets[symbol] = moved_on(None, record)

    def _load(self, entries: Iterable[StreamEntry]) -> None:
        """Everything, also after an outage: Redis may come back with older data, or with none."""
        self.markets, self.unreadable, self._last_id = {}, 0, _NONE
        self._is_complete = self.is_behind = False
        self.loads += 1
        self._arrivals_ms.clear()
        self._take(entries)

    def _take_last_of_each(self, entries: Sequence[StreamEntry]) -> None:
        self._take({fields.get(b"symbol"): (name, fields) for name, fields in entries}.values())
        self._last_id = entries[-1][0]

    def _take(self, entries: Iterable[StreamEntry]) -> None:
        for entry_id, record in readable(entries):
            self._last_id = entry_id
            self._arrivals_ms.append(entry_time_ms(entry_id))
            if record is None:
                self.unreadable += 1
            else:
                before = self.markets.get(record.symbol)
                if before is not None and before.record == record:
                    continue  # its record was read first
                kept = kept_of_each(len(self.markets), self._states_kept)
                self.markets[record.symbol] = moved_on(before, record, kept)
