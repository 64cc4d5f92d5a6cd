"""The whole way of a candle on one screen: keep the leases, fetch, read, advance, commit."""

import logging
import time
import uuid

import redis

from worker import connection
from worker.backfill import Backfill
from worker.check import preflight
from worker.commit import Commit
from worker.errors import GroupDeleted, LeaseLost, WorkerIdInUse
from worker.group import join
from worker.intake import Intake
from worker.log import log
from worker.pipeline import Pipeline
from worker.scripts import Scripts
from worker.settings import Settings
from worker.shards import KEEPS_PER_LEASE, Shards
from worker.stop import Stop
from worker.synthetic import Feeder


def run(settings: Settings, stop: Stop) -> None:
    """Work until `stop` is requested. Raises WorkerError for what waiting cannot mend."""
    log.info("Initialized with %s", settings.described())
    incarnation = uuid.uuid4().hex
    try:
        session = _enter(settings, stop, incarnation)
        if session is None:
            return
        try:
            while not stop.requested:
                try:
                    session.work(stop)
                except redis.RedisError as error:
                    session = _recover(error, session, settings, stop, incarnation)
        finally:
            session.leave()
    except redis.RedisError as error:
        if "NOGROUP" in str(error):
            raise GroupDeleted(
                f"the consumer group {settings.group!r} of {settings.keys.input} has been "
                "deleted; see README, When the group is gone"
            ) from error
        raise connection.unusable(error, settings) from error


class Session:
    """All that lives as long as one connection. Start-up and recovery both begin a new one.

    What the previous session believed to hold and to remember is in doubt, so nothing of it is
    carried over: leases are taken anew, and everything else is loaded from Redis.
    """

    def __init__(self, settings: Settings, incarnation: str) -> None:
        client = connection.open_client(settings, block_s=settings.lease_seconds / KEEPS_PER_LEASE)
        scripts = Scripts(client)
        self._pipeline = Pipeline(settings, warm_until=join(scripts, settings))
        self._shards = Shards(settings, scripts, incarnation)
        self._intake = Intake(settings, client, scripts)
        self._backfill = Backfill(settings, client)
        self._commit = Commit(settings, scripts, self._shards)
        self._feeder = Feeder(settings, client) if settings.source == "synthetic" else None
        self._settings = settings
        self._entry_s = 0.0
        """What an entry of the last batch took."""
        self._shards.keep()

    def work(self, stop: Stop) -> None:
        while not stop.requested:
            if not self.work_on_a_batch():
                self._intake.wait(self._seconds_to_wait(), stop)

    def work_on_a_batch(self) -> bool:
        """False when there was nothing to do."""
        self._shards.keep()
        if self._feeder:
            self._feeder.feed()
        entries = self._intake.fetch(self._shards, self._most_entries())
        if not entries:
            return False
        began_s = time.monotonic()
        readings = self._pipeline.read(entries)
        histories = self._backfill.histories(readings, self._shards.memory)
        changes = self._pipeline.advance(readings, self._shards.memory, histories)
        try:
            self._commit.apply(changes)
        except LeaseLost as lost:
            log.warning("%s; the next holder has its candles", lost)
            self._shards.drop(lost.shards)
        self._entry_s = (time.monotonic() - began_s) / len(entries)
        return True

    def leave(self) -> None:
        try:
            self._shards.release()
            log.info("stopped; all shards are given back")
        except redis.RedisError as error:
            log.warning("stopped; the leases run out by themselves, for Redis is away: %s", error)

    def _most_entries(self) -> int:
        """A batch, but no more of it than is surely done before the leases must be renewed: with
        a costly theta a batch might outlive its lease, again and again.
        """
        in_time = self._settings.lease_seconds / KEEPS_PER_LEASE / max(self._entry_s, 1e-9)
        return max(1, min(self._settings.batch, int(in_time)))

    def _seconds_to_wait(self) -> float:
        to_keep = self._shards.seconds_to_keep
        return min(to_keep, self._feeder.seconds_to_feed) if self._feeder else to_keep


def _enter(settings: Settings, stop: Stop, incarnation: str) -> Session | None:
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
            return Session(settings, incarnation)
        except WorkerIdInUse as error:
            if time.monotonic() > give_up_s:
                raise
            if not waiting:
                log.info("waiting for the lease of an earlier worker to run out: %s", error)
            waiting = True
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
    log.warning("lost Redis at %s: %s", connection.address(settings), error)
    began_s = time.monotonic()

    def attempt() -> Session:
        session = Session(settings, incarnation)
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
