"""Follows the markets of all partitions: the model that `top` and the page of `serve` show.

The states come from the output streams. Where a symbol has none there, because it publishes seldom,
the latest comes from its record.
"""

import math
import time
from collections import ChainMap, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Final, NamedTuple

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.commands.markets import (
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
_MINUTE_S: Final = 60.0
# The id of the last entry, while there is none.
_NONE: Final = b"0-0"


class Followed(NamedTuple):
    markets: Mapping[str, Market]
    states_per_min: int
    unreadable: int
    """Entries that are not records of this version."""
    trouble: str
    """Why some partitions cannot be read at the moment; empty if all can."""


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
    """Reads what is new, in the thread of who calls `read`."""

    def __init__(self, every: AllPartitions, settings: Settings) -> None:
        self._every = every
        self._streams = {
            part.keys.output_stream: _StreamFollower() for part in settings.each_partition()
        }

    def read(self) -> Followed:
        """Raises WorkerError if nothing can be read."""
        answers = self._every.ask(
            lambda client, part: self._streams[part.keys.output_stream].read(client, part)
        )
        followers = self._streams.values()
        minute_ago_ms = (time.time() - _MINUTE_S) * 1_000
        return Followed(
            dict(ChainMap(*(each.markets for each in followers))),
            sum(each.states_since(minute_ago_ms) for each in followers),
            sum(each.unreadable for each in followers),
            str(unread_partitions(answers) or ""),
        )

    def complete(self, answers: Iterable[Answer[Status]]) -> None:
        """Once the symbols are known. Those that come later come in the streams."""
        symbols = {
            answer.settings.keys.output_stream: [
                one.symbol for one in answer.found.symbols if one.last_emitted_ms
            ]
            for answer in answers
            if answer.found is not None
        }
        lacking = [stream for stream in symbols if not self._streams[stream].is_complete]
        if not lacking:
            return

        def complete(client: Client, part: Settings) -> None:
            stream = part.keys.output_stream
            if stream in lacking:
                self._streams[stream].complete(client, part, symbols[stream])

        # Who reads next learns why, if Redis is away.
        with suppress(WorkerError):
            self._every.ask(complete)


class _StreamFollower:
    """Follows the output stream of one partition."""

    def __init__(self) -> None:
        self.is_complete = False
        self.markets: dict[str, Market] = {}
        self.unreadable = 0
        self._arrivals_ms: deque[int] = deque(maxlen=HISTORY)
        self._last_id = _NONE
        self._client: Client | None = None

    def read(self, client: Client, settings: Settings) -> None:
        stream = settings.keys.output_stream
        found = self._new(client, stream) if client is self._client else None
        if found is None:
            self._load(newest_entries(client, stream, HISTORY))
            self._client = client
        else:
            self._take(found)

    def _new(self, client: Client, stream: str) -> Iterator[StreamEntry] | None:
        """None if Redis has lost the stream, or has older data: trimming never takes all of it."""
        found = entries_from(client, stream, self._last_id)
        if self._last_id == _NONE:
            return found
        first = next(found, None)
        if first is None:
            return None
        return found if first[0] == self._last_id else chain((first,), found)

    def states_since(self, since_ms: float) -> int:
        """Counted from the times in the ids, so that it is available immediately."""
        while self._arrivals_ms and self._arrivals_ms[0] < since_ms:
            self._arrivals_ms.popleft()
        return len(self._arrivals_ms)

    def complete(self, client: Client, settings: Settings, symbols: Iterable[str]) -> None:
        lacking = [symbol for symbol in symbols if symbol not in self.markets]
        for symbol, record in latest_records(client, settings, lacking):
            self.markets[symbol] = moved_on(None, record)
        self.is_complete = True

    def _load(self, entries: Iterable[StreamEntry]) -> None:
        """Everything, also after an outage: Redis may come back with older data, or with none."""
        self.markets, self.unreadable, self._last_id = {}, 0, _NONE
        self.is_complete = False
        self._arrivals_ms.clear()
        self._take(entries)

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
                kept = kept_of_each(len(self.markets))
                self.markets[record.symbol] = moved_on(before, record, kept)
