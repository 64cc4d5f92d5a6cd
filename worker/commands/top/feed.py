"""Reads what `marketstate top` shows, every second, in a separate thread.

So a slow or absent Redis does not block the keyboard. The states come only from the output stream;
the header comes from the group's internal keys, if this user may read them.
"""

import math
import threading
import time
from collections import ChainMap, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import redis

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.commands.markets import (
    Market,
    entries_after,
    moved_on,
    readable,
)
from marketstate.worker.engine.all_partitions import AllPartitions, Answer, unread_partitions
from marketstate.worker.engine.status import MOST_COUNTED_PERIODICALLY, Status, read_status
from marketstate.worker.engine.status_of_all import summed
from marketstate.worker.errors import ConfigurationMismatch, RedisUnusable, WorkerError
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.newest import StreamEntry, newest_entries
from marketstate.worker.store.refusal import reason

REFRESH_S: Final = 1.0
# What the output stream keeps by default; this limits how far back a regime's age is known.
HISTORY: Final = 10_000
_MINUTE_S: Final = 60.0


class View(NamedTuple):
    markets: Mapping[str, Market]
    status: Status | None
    """None if it cannot be read; `status_trouble` says why."""
    status_trouble: str
    states_per_min: int
    candles_per_min: float | str | None
    """During the first minute, when it will be known."""
    unreadable: int
    trouble: str
    """Why Redis cannot be read at the moment; empty if it can."""


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
    def per_min(self) -> float | str:
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        if last_s - first_s < _MINUTE_S:
            return f"(in {math.ceil(_MINUTE_S - (last_s - first_s))} s)"
        return (last - first) / (last_s - first_s) * _MINUTE_S


class StreamFollower:
    """Follows the output stream of one partition, and reads the status of its group."""

    def __init__(self) -> None:
        self.markets: dict[str, Market] = {}
        self.unreadable = 0
        self.arrivals_ms: deque[int] = deque(maxlen=HISTORY)
        self._last_id = b"0-0"
        self._client: Client | None = None

    def read(self, client: Client, settings: Settings) -> tuple[Status | None, str]:
        """The status, or why there is none. Raises redis.RedisError if nothing can be read."""
        stream = settings.keys.output_stream
        if client is self._client:
            self._take(entries_after(client, stream, self._last_id))
        else:
            self._load(newest_entries(client, stream, HISTORY))
            self._client = client
        return _status(client, settings)

    def states_since(self, since_ms: float) -> int:
        """Counted from the times in the ids, so that it is available immediately."""
        while self.arrivals_ms and self.arrivals_ms[0] < since_ms:
            self.arrivals_ms.popleft()
        return len(self.arrivals_ms)

    def _load(self, entries: Iterable[StreamEntry]) -> None:
        """Everything, also after an outage: Redis may come back with older data."""
        self.markets, self.unreadable, self._last_id = {}, 0, b"0-0"
        self.arrivals_ms.clear()
        self._take(entries)

    def _take(self, entries: Iterable[StreamEntry]) -> None:
        for entry_id, record in readable(entries):
            self._last_id = entry_id
            self.arrivals_ms.append(entry_time_ms(entry_id))
            if record is None:
                self.unreadable += 1
            else:
                self.markets[record.symbol] = moved_on(self.markets.get(record.symbol), record)


class MarketFollower:
    """Keeps `view` up to date from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._every = AllPartitions(settings)
        self._streams = {
            part.keys.output_stream: StreamFollower() for part in settings.each_partition()
        }
        self._candles = Rate()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self.view = View({}, None, "", 0, None, 0, "")
        self.failure: Exception | None = None
        """An unexpected error, which has ended the thread."""

    def start(self) -> None:
        """Raises WorkerError if Redis cannot be read now."""
        self._read()
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for a reply that may never come: the thread is a daemon."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(REFRESH_S):
                try:
                    self._read()
                except WorkerError as error:
                    self.view = self.view._replace(trouble=str(error))
        except Exception as error:
            self.failure = error

    def _read(self) -> None:
        answers = self._every.ask(
            lambda client, part: self._streams[part.keys.output_stream].read(client, part)
        )
        status, trouble = _status_of_all(self._settings, answers)
        if status is not None:
            self._candles.add(status.counters.get("applied", 0), time.monotonic())
        followers = self._streams.values()
        minute_ago_ms = (time.time() - _MINUTE_S) * 1_000
        self.view = View(
            dict(ChainMap(*(each.markets for each in followers))),
            status,
            trouble,
            sum(each.states_since(minute_ago_ms) for each in followers),
            self._candles.per_min if status is not None else None,
            sum(each.unreadable for each in followers),
            str(unread_partitions(answers) or ""),
        )


def _status_of_all(
    settings: Settings, answers: Sequence[Answer[tuple[Status | None, str]]]
) -> tuple[Status | None, str]:
    """Of the partitions that have one; and why another has none."""
    found, troubles = [], []
    for each in answers:
        status, trouble = each.found or (None, "")
        if status is not None:
            found.append(Answer(each.settings, status, ""))
        elif trouble:
            troubles.append(f"{each.tag} {trouble}".lstrip())
    return summed(settings, found) if found else None, troubles[0] if troubles else ""


def _status(client: Client, settings: Settings) -> tuple[Status | None, str]:
    try:
        return read_status(client, settings, MOST_COUNTED_PERIODICALLY), ""
    except (redis.exceptions.NoPermissionError, redis.exceptions.ExecAbortError):
        return None, "this user is not allowed to read the group"
    except ConfigurationMismatch:
        return None, "the group reads another input stream"
    except RedisUnusable:
        return None, "no group yet"
    except (redis.ResponseError, ValueError) as error:
        return None, reason(error)
