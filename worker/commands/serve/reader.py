"""The one thread that reads Redis for all pages and scrapes, however many there are.

The states are read several times a second, the group every few seconds. With many partitions both
are read less often: reading takes a bounded part of one core.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from marketstate.worker.commands.limits import Limits, judge
from marketstate.worker.commands.market_follower import Followed, MarketFollower, Rate
from marketstate.worker.commands.markets import Market
from marketstate.worker.commands.metrics.reading import Reading, read
from marketstate.worker.commands.serve.document import GroupDocument, of_group
from marketstate.worker.engine.all_partitions import AllPartitions
from marketstate.worker.engine.status import MOST_COUNTED_PERIODICALLY, Status, enough_for
from marketstate.worker.engine.status_of_all import summed
from marketstate.worker.errors import WorkerError
from marketstate.worker.log import log
from marketstate.worker.settings import Settings

STATES_EVERY_S: Final = 0.4
GROUP_EVERY_S: Final = 2.0
# Of a core, at most; after an outage, no longer than LONGEST_S.
_SHARE: Final = 0.1
_LONGEST_S: Final = 5.0
HEALTHY: Final = "ok"


class News(NamedTuple):
    """What was read now; None of what was not, or could not be."""

    followed: Followed | None
    group: GroupDocument | None
    reading: Reading | None


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
        self._markets = MarketFollower(self._every, settings)
        self._candles = Rate()
        self._followed: Followed | None = None
        self._group = GroupDocument()
        self._group_due_s = 0.0
        self._trouble = ""
        self._is_failing = False
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
                wait_s = _pause_s(STATES_EVERY_S, time.monotonic() - self.turned_s)
        except Exception as error:
            self.failure = error

    def _read(self) -> News:
        followed, trouble = self._follow()
        started_s = time.monotonic()
        if started_s < self._group_due_s:
            if trouble == self._trouble:
                return News(followed, None, None)
            self._trouble = trouble
            self._group = replace(self._group, trouble=trouble)
            return News(followed, self._group, None)
        self._trouble = trouble
        reading = read(
            self._every,
            self._settings,
            per_symbol=False,
            most_counted=enough_for(self._limits.max_lag, MOST_COUNTED_PERIODICALLY),
        )
        self._markets.complete(reading.of_status)
        if self._per_symbol and self._followed is not None:
            reading = _with_records(reading, self._followed.markets)
        self._group = self._of(reading, trouble)
        now_s = time.monotonic()
        self._group_due_s = now_s + _pause_s(GROUP_EVERY_S, now_s - started_s)
        return News(followed, self._group, reading)

    def _follow(self) -> tuple[Followed | None, str]:
        try:
            self._followed = self._markets.read()
        except WorkerError as error:
            return None, str(error)
        return self._followed, self._followed.trouble

    def _of(self, reading: Reading, trouble: str) -> GroupDocument:
        known = any(answer.found for answer in reading.answers)
        status = summed(self._settings, reading.of_status) if known else None
        if status is not None:
            self._candles.add(status.counters.get("applied", 0), time.monotonic())
        health = failing(status, reading.failure, self._limits)
        if bool(health) != self._is_failing:
            self._is_failing = bool(health)
            if health:
                log.warning("unhealthy: %s", health)
            else:
                log.info("healthy again")
        # While Redis is away, the last numbers stay.
        group = of_group(reading, status) if known or not trouble else self._group
        followed = self._followed
        return replace(
            group,
            trouble=trouble,
            status_trouble="" if trouble else str(reading.failure or ""),
            healthy=not health,
            health=health or HEALTHY,
            states_per_min=followed.states_per_min if followed else 0,
            candles_per_min=self._candles.per_min,
            unreadable=followed.unreadable if followed else 0,
        )


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


def _with_records(reading: Reading, markets: Mapping[str, Market]) -> Reading:
    """The states that `read` would read again."""
    answers = [
        answer._replace(
            found=answer.found._replace(
                records=[
                    (one.symbol, markets[one.symbol].record)
                    for one in sorted(answer.found.status.symbols, key=lambda one: one.symbol)
                    if one.last_emitted_ms and one.symbol in markets
                ]
            )
        )
        if answer.found is not None
        else answer
        for answer in reading.answers
    ]
    return reading._replace(answers=answers)


def _pause_s(least_s: float, took_s: float) -> float:
    return max(least_s, min(took_s / _SHARE, _LONGEST_S))
