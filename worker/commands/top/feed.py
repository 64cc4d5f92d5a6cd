"""Reads what `marketstate top` shows, every second, in a separate thread.

So a slow or absent Redis does not block the keyboard. The header comes from the group's internal
keys, if this user may read them.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import redis

from marketstate.worker.commands.market_follower import MarketFollower, Rate
from marketstate.worker.commands.markets import Market
from marketstate.worker.engine.all_partitions import AllPartitions, Answer
from marketstate.worker.engine.status import MOST_COUNTED_PERIODICALLY, Status, read_status
from marketstate.worker.engine.status_of_all import summed
from marketstate.worker.errors import (
    ConfigurationMismatch,
    NoGroup,
    PartitionCountMismatch,
    RedisUnusable,
    WorkerError,
)
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.refusal import reason

REFRESH_S: Final = 1.0
# The first that fits counts.
_IN_SHORT: Final = (
    (PartitionCountMismatch, "the group has another number of partitions"),
    (ConfigurationMismatch, "the group reads another input stream"),
    (NoGroup, "no group yet"),
    (RedisUnusable, "the group is damaged or deleted: see `marketstate status`"),
)


class View(NamedTuple):
    markets: Mapping[str, Market]
    status: Status | None
    """None if it cannot be read; `status_trouble` says why."""
    status_trouble: str
    states_per_min: int | None
    """None while `is_behind`."""
    candles_per_min: float | str | None
    """During the first minute, when it will be known."""
    unreadable: int
    trouble: str
    """Why Redis cannot be read at the moment; empty if it can."""
    is_behind: bool = False
    """States come too fast to show them all."""
    is_read: bool = True
    """False from the choice of another interval until its states have been read."""


class Feed:
    """Keeps `view` up to date from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        """With the settings of the interval whose states are shown first."""
        self._wanted = settings
        self._changing = threading.Lock()
        self._take_up(settings)
        self._candles = Rate()
        self._is_stopping = False
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self.view = View({}, None, "", 0, None, 0, "")
        self.failure: Exception | None = None
        """An unexpected error, which has ended the thread."""

    def start(self) -> None:
        """Raises WorkerError if Redis cannot be read now."""
        self._read()
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for a reply that may never come: the thread is a daemon."""
        self._is_stopping = True
        self._awake.set()

    def follow(self, settings: Settings) -> None:
        """From now on, the states of the interval of these settings."""
        with self._changing:
            self._wanted = settings
            nothing = self.view._replace(markets={}, states_per_min=0, unreadable=0)
            self.view = nothing._replace(is_read=False)
        self._awake.set()

    def _take_up(self, settings: Settings) -> None:
        self._settings = settings
        self._every = AllPartitions(settings)
        self._markets = MarketFollower(self._every, settings)

    def _run(self) -> None:
        try:
            while True:
                self._awake.wait(REFRESH_S)
                self._awake.clear()
                if self._is_stopping:
                    return
                if self._wanted is not self._settings:
                    self._every.close()
                    self._take_up(self._wanted)
                try:
                    self._read()
                except WorkerError as error:
                    with self._changing:
                        self.view = self.view._replace(trouble=str(error))
        except Exception as error:
            self.failure = error

    def _read(self) -> None:
        followed = self._markets.read()
        found, trouble = _known(self._every.ask(_status))
        self._markets.complete(found)
        status = summed(self._settings, found) if found else None
        candles: float | str | None = None
        if status is not None:
            self._candles.add(status.counters.get("applied", 0), time.monotonic())
            candles = self._candles.per_min
            if candles is None:
                candles = f"(in {self._candles.known_in_s} s)"
        view = View(
            followed.markets,
            status,
            trouble,
            followed.states_per_min,
            candles,
            followed.unreadable,
            followed.trouble,
            followed.is_behind,
        )
        with self._changing:
            if self._wanted is self._settings:
                self.view = view


def _known(
    answers: Sequence[Answer[tuple[Status | None, str]]],
) -> tuple[list[Answer[Status]], str]:
    """Of the partitions that have a status; and why another has none."""
    found, troubles = [], []
    for each in answers:
        status, trouble = each.found or (None, "")
        if status is not None:
            found.append(Answer(each.settings, status, ""))
        elif trouble:
            troubles.append(f"{each.tag} {trouble}".lstrip())
    return found, troubles[0] if troubles else ""


def _status(client: Client, settings: Settings) -> tuple[Status | None, str]:
    try:
        return read_status(client, settings, MOST_COUNTED_PERIODICALLY), ""
    except (redis.exceptions.NoPermissionError, redis.exceptions.ExecAbortError):
        return None, "this user is not allowed to read the group"
    except (ConfigurationMismatch, RedisUnusable) as error:
        return None, next(text for kind, text in _IN_SHORT if isinstance(error, kind))
    except (redis.ResponseError, ValueError) as error:
        return None, reason(error)
