"""The one thread that reads Redis for all pages and scrapes, however many there are.

The states of every interval are read several times a second, the group every few seconds. With many
partitions both are read less often: reading takes a bounded part of one core.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from marketstate.worker.commands.limits import Limits, judge
from marketstate.worker.commands.market_follower import Followed, MarketFollower, Rate
from marketstate.worker.commands.markets import STATES_IN_MEMORY, Market
from marketstate.worker.commands.metrics.reading import Found, Reading, read
from marketstate.worker.commands.serve.document import GroupDocument, of_group, of_longer
from marketstate.worker.engine.all_partitions import AllPartitions
from marketstate.worker.engine.status import MOST_COUNTED_PERIODICALLY, Status, enough_for
from marketstate.worker.engine.status_of_all import summed
from marketstate.worker.errors import WorkerError
from marketstate.worker.log import log
from marketstate.worker.settings import Settings

STATES_EVERY_S: Final = 0.4
# While workers catch up with a backlog, of which only the newest states are read.
_BEHIND_EVERY_S: Final = 1.0
GROUP_EVERY_S: Final = 2.0
# Of a core, at most; after an outage, no longer than LONGEST_S.
_SHARE: Final = 0.1
_LONGEST_S: Final = 5.0
HEALTHY: Final = "ok"
_COUNT: Final = re.compile(r"(?<!\S)\d+[smhd]?(?=\s)")


class News(NamedTuple):
    """What was read now, of each interval; without what was not, or could not be."""

    followed: Mapping[str, Followed]
    groups: Mapping[str, GroupDocument]
    reading: Reading | None


def states_kept(settings: Settings) -> dict[str, int]:
    """In memory, of each interval: the longer ones share as many as the candle interval has."""
    share = STATES_IN_MEMORY // max(1, len(settings.longer))
    longer = {each.candle_interval: share for each in settings.longer}
    return {settings.candle_interval: STATES_IN_MEMORY} | longer


class Reader:
    def __init__(
        self, settings: Settings, limits: Limits, tell: Callable[[News], None], *, per_symbol: bool
    ) -> None:
        """`tell` is called in the thread of the reader."""
        self._settings = settings
        self._limits = limits
        self._tell = tell
        self._per_symbol = per_symbol
        self._every = AllPartitions(settings)
        kept = states_kept(settings)
        self._followers = {
            each.candle_interval: MarketFollower(self._every, each, kept[each.candle_interval])
            for each in settings.each_interval
        }
        self._followed: dict[str, Followed] = {}
        self._groups = dict.fromkeys(self._followers, GroupDocument())
        self._candles = Rate()
        self._group_due_s = 0.0
        self._unhealthy = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self.turned_s = time.monotonic()
        """When its loop last came around."""
        self.failure: Exception | None = None
        """An unexpected error, which has ended the thread."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for a reply that may never come: the thread is a daemon."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            wait_s = 0.0
            while not self._stopping.wait(wait_s):
                self.turned_s = time.monotonic()
                self._tell(self._read())
                is_behind = any(each.is_behind for each in self._followed.values())
                every_s = _BEHIND_EVERY_S if is_behind else STATES_EVERY_S
                wait_s = _pause_s(every_s, time.monotonic() - self.turned_s)
        except Exception as error:
            self.failure = error

    def _read(self) -> News:
        followed, trouble = self._follow()
        started_s = time.monotonic()
        if started_s < self._group_due_s:
            groups = {name: self._now(name, trouble) for name in self._groups}
            is_same, self._groups = groups == self._groups, groups
            return News(followed, {} if is_same else groups, None)
        reading = read(
            self._every,
            self._settings,
            per_symbol=False,
            most_counted=enough_for(self._limits.max_lag, MOST_COUNTED_PERIODICALLY),
        )
        for follower in self._followers.values():
            follower.complete(reading.of_status)
        if self._per_symbol:
            reading = _with_records(reading, self._followed)
        self._take(reading, trouble)
        now_s = time.monotonic()
        self._group_due_s = now_s + _pause_s(GROUP_EVERY_S, now_s - started_s)
        return News(followed, self._groups, reading)

    def _follow(self) -> tuple[dict[str, Followed], str]:
        """What could be read, and why not all could."""
        found: dict[str, Followed] = {}
        try:
            for name, follower in self._followers.items():
                found[name] = follower.read()
        except WorkerError as error:
            trouble = str(error)
        else:
            trouble = next((each.trouble for each in found.values() if each.trouble), "")
        self._followed |= found
        return found, trouble

    def _now(self, name: str, trouble: str) -> GroupDocument:
        """The group as it was read last, with what is known of the states of an interval."""
        group, followed = self._groups[name], self._followed.get(name)
        if followed is None:
            return replace(group, trouble=trouble)
        return replace(group, trouble=trouble, catching_up=followed.is_behind)

    def _take(self, reading: Reading, trouble: str) -> None:
        known = any(answer.found for answer in reading.answers)
        status = summed(self._settings, reading.of_status) if known else None
        if status is not None:
            self._candles.add(status.counters.get("applied", 0), time.monotonic())
        health = failing(status, reading.failure, self._limits)
        self.tell_of_change(health)
        # While Redis is away, the last numbers stay.
        if known or not trouble:
            group = of_group(reading, status)
            self._groups = dict.fromkeys(self._groups, group)
            if status is not None:
                for each in self._settings.longer:
                    name = each.candle_interval
                    followed = self._followed.get(name)
                    markets = followed.markets.keys() if followed else set()
                    self._groups[name] = of_longer(group, each, status, markets)
        for name in self._groups:
            followed = self._followed.get(name)
            self._groups[name] = replace(
                self._now(name, trouble),
                status_trouble="" if trouble else str(reading.failure or ""),
                healthy=not health,
                health=health or HEALTHY,
                states_per_min=followed.states_per_min if followed else 0,
                candles_per_min=self._candles.per_min,
                unreadable=followed.unreadable if followed else 0,
            )

    def tell_of_change(self, health: str) -> None:
        """In the log: not again while nothing but counts and ages differs."""
        kind = _COUNT.sub("N", health)
        if kind == self._unhealthy:
            return
        self._unhealthy = kind
        if health:
            log.warning("unhealthy: %s", health)
        else:
            log.info("healthy again")


def failing(status: Status | None, failure: WorkerError | None, limits: Limits) -> str:
    """What `marketstate status` with these limits would fail with; empty if nothing."""
    try:
        if status is not None:
            judge(status, limits)
        if failure is not None:
            raise failure
    except WorkerError as error:
        return str(error)
    return ""


def _with_records(reading: Reading, followed: Mapping[str, Followed]) -> Reading:
    """The states that `read` would read again."""
    settings = reading.settings
    nothing: Mapping[str, Market] = {}
    markets = {
        each.candle_interval: followed[each.candle_interval].markets
        if each.candle_interval in followed
        else nothing
        for each in settings.each_interval
    }

    def with_records(found: Found) -> Found:
        every = sorted(found.status.symbols, key=lambda one: one.symbol)
        of_each = {
            name: [
                (one.symbol, of_interval[one.symbol].record)
                for one in every
                if one.symbol in of_interval
            ]
            for name, of_interval in markets.items()
        }
        return found._replace(records=of_each.pop(settings.candle_interval), longer=of_each)

    return reading._replace(
        answers=[
            answer._replace(found=with_records(answer.found)) if answer.found else answer
            for answer in reading.answers
        ]
    )


def _pause_s(least_s: float, took_s: float) -> float:
    return max(least_s, min(took_s / _SHARE, _LONGEST_S))
