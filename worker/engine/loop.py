"""The whole way of a candle on one screen: keep the leases, fetch, read, advance, commit."""

import logging
import math
import time
import uuid
from typing import Final

import redis

from worker.engine.backfill import Backfill
from worker.engine.batch_size import Pace
from worker.engine.changes import Changes, Reading
from worker.engine.commit import Commit
from worker.engine.group import group_deleted, join
from worker.engine.heartbeat import Progress
from worker.engine.intake import Intake
from worker.engine.pipeline import Pipeline
from worker.engine.preflight import preflight
from worker.engine.shards import KEEPS_PER_LEASE, Shards
from worker.engine.synthetic import SyntheticFeeder
from worker.engine.systemd import Notify
from worker.errors import LeaseLost, WorkerIdInUse
from worker.log import log
from worker.settings import Settings
from worker.stop import Stop
from worker.store import connection
from worker.store.scripts import Scripts

# How late a state may be that is due by the wall clock.
LOOK_FOR_OVERDUE_S: Final = 0.5
WAITING_FOR_ID: Final = "waiting for the lease of an earlier worker to run out"


def run(settings: Settings, stop: Stop, notify: Notify) -> None:
    """Work until `stop` is requested. Raises WorkerError for what waiting cannot mend."""
    log.info("Initialized with %s", settings.described())
    incarnation = uuid.uuid4().hex
    try:
        session = _enter(settings, stop, incarnation, notify)
        if session is None:
            return
        try:
            while not stop.requested:
                try:
                    session.work(stop)
                except redis.RedisError as error:
                    session = _recover(error, session, settings, stop, incarnation)
        finally:
            notify.stopping()
            session.leave()
    except redis.RedisError as error:
        if "NOGROUP" in str(error):
            raise group_deleted(settings.keys) from error
        raise connection.unusable(error, settings) from error


class Session:
    """All that lives as long as one connection. Start-up and recovery both begin a new one.

    What the previous session believed to hold and to remember is in doubt, so nothing of it is
    carried over: leases are taken anew, and everything else is loaded from Redis.
    """

    def __init__(self, settings: Settings, incarnation: str, notify: Notify) -> None:
        client = connection.open_client(settings, block_s=settings.lease_seconds / KEEPS_PER_LEASE)
        scripts = Scripts(client)
        self.pipeline = Pipeline(settings, warm_until=join(scripts, settings))
        self.shards = Shards(settings, scripts, incarnation)
        self.intake = Intake(settings, client, scripts)
        self.backfill = Backfill(settings, client)
        self.commit = Commit(settings, scripts, self.shards)
        synthetic = settings.source == "synthetic"
        self.feeder = SyntheticFeeder(settings, client) if synthetic else None
        self.notify = notify
        self.progress = Progress(notify, settings, client, self.shards)
        self.pace = Pace(settings.batch, settings.lease_seconds / KEEPS_PER_LEASE)
        self.pace_of_overdue = Pace(settings.batch, settings.lease_seconds / KEEPS_PER_LEASE)
        self._looks_for_overdue = settings.rate_clock == "wall"
        self._next_look_s = 0.0
        self._ahead: list[Reading] = []
        self._asked_under = 0
        self._answer_is_due = False

    def work(self, stop: Stop) -> None:
        while not stop.requested:
            found_work = self.work_on_a_batch()
            self.progress.tell()
            if not found_work:
                self.intake.wait(self._seconds_to_wait(), stop)

    def work_on_a_batch(self) -> bool:
        """False when there was nothing to do."""
        self.shards.keep()
        if self.feeder:
            self.feeder.feed()
        began_s = time.monotonic()
        readings = self.fetch()
        self.shards.notice(self.intake.last_notice)
        if readings:
            self._commit(self.advance(readings, ask_ahead=len(readings) >= self.pace.most))
            self.pace.took(time.monotonic() - began_s, len(readings))
        published = self._looks_for_overdue and self._publish_overdue()
        return bool(readings) or published

    def fetch(self) -> list[Reading]:
        ahead, self._ahead = self._ahead, []
        # What was asked for under other leases may be finished by others since.
        if ahead and self._asked_under == self.shards.version:
            return ahead
        return self.pipeline.read(self.intake.fetch(self.shards, self.pace.most))

    def advance(self, readings: list[Reading], *, ask_ahead: bool = False) -> Changes:
        """With `ask_ahead`, Redis looks up the next entries while we calculate. Whoever asks must
        `apply` next: the answer is on its way, and comes before any other.
        """
        histories = self.backfill.histories(readings, self.shards.memory)
        if ask_ahead:
            in_hand = [reading.entry for reading in readings]
            self.intake.ask_ahead(self.shards, self.pace.most, in_hand)
            self._asked_under, self._answer_is_due = self.shards.version, True
        now_ms = self.intake.now_ms()
        return self.pipeline.advance(readings, self.shards.memory, histories, now_ms)

    def overdue(self) -> Changes:
        """As many of the states that are due by the wall clock as `Pace` allows at once."""
        most = self.pace_of_overdue.most
        return self.pipeline.overdue(self.shards.remembered(), self.intake.now_ms(), most)

    def apply(self, changes: Changes) -> None:
        """Commit; and read what was asked ahead while Redis is at it. Raises LeaseLost."""
        try:
            self.commit.apply(changes, meanwhile=self._hear)
        except LeaseLost:
            # It may have been known before anything was sent: then the answer still comes first.
            self._hear()
            raise

    def _hear(self) -> None:
        if self._answer_is_due:
            self._answer_is_due = False
            self._ahead = self.pipeline.read(self.intake.answer())

    def _publish_overdue(self) -> bool:
        """False when there was nothing overdue; else there may be more."""
        began_s = time.monotonic()
        if began_s < self._next_look_s:
            return False
        changes = self.overdue()
        if not changes.symbols:
            self._next_look_s = began_s + LOOK_FOR_OVERDUE_S
            return False
        self._commit(changes)
        self.pace_of_overdue.took(time.monotonic() - began_s, len(changes.symbols))
        return True

    def _commit(self, changes: Changes) -> None:
        try:
            self.apply(changes)
        except LeaseLost as lost:
            log.warning("%s; the next holder has its candles", lost)
            self.shards.drop(lost.shards)

    def leave(self) -> None:
        try:
            self.shards.release()
            log.info("stopped; all shards are given back")
        except redis.RedisError as error:
            log.warning(
                "stopped; the leases could not be given back and run out by themselves: %s",
                connection.reason(error),
            )

    def _seconds_to_wait(self) -> float:
        to_feed = self.feeder.seconds_to_feed if self.feeder else math.inf
        to_look = LOOK_FOR_OVERDUE_S if self._looks_for_overdue else math.inf
        return min(self.shards.seconds_to_keep, to_feed, to_look, self.notify.longest_wait_s)


def _enter(settings: Settings, stop: Stop, incarnation: str, notify: Notify) -> Session | None:
    """The first session; None if stopped before. A Redis that cannot be used is an error at once.

    The id of a worker that was killed stays taken until its leases run out; only one that is
    still taken after that is in use twice.
    """
    for finding in preflight(settings):
        log.log(logging.WARNING if finding.verdict == "warn" else logging.INFO, "%s", finding)
    give_up_s = time.monotonic() + settings.lease_seconds + 1
    waiting = False
    while not stop.requested:
        try:
            session = Session(settings, incarnation, notify)
            session.shards.keep()
            return session
        except WorkerIdInUse as error:
            if time.monotonic() > give_up_s:
                raise
            if not waiting:
                log.info("%s: %s", WAITING_FOR_ID, error)
            waiting = True
            notify.beat(lambda: WAITING_FOR_ID)
            stop.sleep(0.2)
    return None


def _recover(
    error: redis.RedisError, old: Session, settings: Settings, stop: Stop, incarnation: str
) -> Session:
    """A new session, once Redis answers and takes writes again.

    The first batch is part of the attempt: a full Redis lets us connect, and refuses only then.
    """
    if not connection.passes_by_itself(error):
        raise error
    lost = f"lost Redis at {connection.address(settings)}: {connection.reason(error)}"
    log.warning("%s", lost)
    began_s = time.monotonic()

    def attempt() -> Session:
        old.notify.beat(lambda: lost)
        session = Session(settings, incarnation, old.notify)
        session.work_on_a_batch()
        return session

    try:
        session = connection.until_it_passes(attempt, stop)
    except redis.RedisError:
        if stop.requested:
            return old
        raise
    log.warning("Redis is back after %.1f s", time.monotonic() - began_s)
    return session
