"""A worker from its start to its stop: one session after another, whenever Redis was away."""

import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import redis
from msgspec.structs import replace

from marketstate.worker.engine.group import group_gone
from marketstate.worker.engine.key_health import check_types
from marketstate.worker.engine.preflight import examined
from marketstate.worker.engine.reload import Answer, read_again
from marketstate.worker.engine.session import Session
from marketstate.worker.engine.systemd import Notifier
from marketstate.worker.errors import (
    ConfigurationMismatch,
    RolledBack,
    TwoSources,
    WorkerError,
    WorkerIdInUse,
    WrongKeyType,
)
from marketstate.worker.log import log
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection
from marketstate.worker.store.outage import Outage
from marketstate.worker.store.refusal import is_transient, refuses_for_now

T = TypeVar("T")

WAITING_FOR_ID: Final = "waiting for the leases of an earlier worker to expire"


def run(settings: Settings, stop: Stop, notifier: Notifier) -> None:
    """Work until `stop` is requested. Raises WorkerError for what waiting cannot fix."""
    incarnation = uuid.uuid4().hex
    try:
        session = _enter(settings, stop, incarnation, notifier)
        if session is None:
            return
        try:
            while not stop.requested:
                try:
                    if stop.hung_up:
                        session, settings = _reload(session, settings, stop, incarnation)
                    session.work(stop)
                except (redis.RedisError, RolledBack) as error:
                    session = _recover(error, session, settings, stop, incarnation)
        finally:
            notifier.stopping()
            session.leave()
    except redis.RedisError as error:
        raise _final(error, settings) from error


def _enter(settings: Settings, stop: Stop, incarnation: str, notifier: Notifier) -> Session | None:
    """The first session; None if stopped before. Fails at once if Redis is away, but waits while
    Redis refuses commands temporarily, for example while it loads its data.

    The id of a worker that was killed stays taken until its leases expire. Only an id that is
    still taken after that is in use twice. The same holds for workers with the other source.
    """
    outage = Outage(settings, log.warning, begins="waiting for Redis")

    def begin() -> Session:
        session = Session(settings, incarnation, notifier)
        session.shards.keep()
        return session

    def attempt(action: Callable[[], T]) -> T:
        return _once_redis_allows(
            action, settings, outage, notifier, stop, transient=refuses_for_now
        )

    def examine() -> None:
        for finding in attempt(lambda: list(examined(settings))):
            # What is well, or equal in all partitions, is said by one of them.
            is_repeated = finding.verdict == "ok" and settings.partition
            level = logging.DEBUG if is_repeated else finding.log_level
            once = {} if settings.partition is None else {"once": str(finding)}
            log.log(level, str(finding), extra=once)

    try:
        give_up_s = time.monotonic() + settings.lease_seconds + 1
        is_examined = waiting = False
        while not stop.requested:
            try:
                if not is_examined:
                    examine()
                is_examined = True
                return attempt(begin)
            except (WorkerIdInUse, TwoSources) as error:
                if time.monotonic() > give_up_s:
                    raise
                if not waiting:
                    log.info("%s: %s", WAITING_FOR_ID, error)
                waiting = True
                notifier.beat(lambda: WAITING_FOR_ID)
                stop.sleep(0.2)
    except redis.RedisError:
        if not stop.requested:
            raise
    return None


def _recover(
    error: redis.RedisError | RolledBack,
    old: Session,
    settings: Settings,
    stop: Stop,
    incarnation: str,
) -> Session:
    """A new session, once Redis answers and accepts writes again.

    The first batch is part of the attempt: a full Redis accepts the connection and refuses writes.
    """
    if not is_transient(error):
        raise error
    outage = Outage(settings, log.warning)
    outage.note(error)
    old.finish()
    if stop.requested:
        old.hurry()
        return old
    # Now, and not when nothing refers to it any more: errors hold the frames that they came
    # through, and those of redis-py do so until Python's collector comes.
    old.shards.forget()

    def begin() -> Session:
        session = Session(settings, incarnation, old.notifier, again=True)
        session.work_on_a_batch()
        session.commit.finish()
        return session

    try:
        return _once_redis_allows(
            begin, settings, outage, old.notifier, stop, transient=is_transient
        )
    except (redis.RedisError, RolledBack):
        if stop.requested:
            old.hurry()
            return old
        raise


def _reload(
    session: Session, settings: Settings, stop: Stop, incarnation: str
) -> tuple[Session, Settings]:
    """The settings as they are now, and a session that has them. If Redis goes away meanwhile, the
    settings are read again when it is back.
    """
    stop.hung_up = False
    answer = Answer()
    try:
        session, settings = _taken_over(session, settings, incarnation, answer)
    except redis.RedisError:
        stop.hung_up = True
        raise
    session.notifier.answer(answer.lines)
    return session, settings


def _taken_over(
    session: Session, settings: Settings, incarnation: str, answer: Answer
) -> tuple[Session, Settings]:
    """G2: all workers of a group publish at the same interval. So only the last one may change it,
    with a new session, as after a restart.
    """
    new = read_again(settings, answer)
    if new.publish_interval == settings.publish_interval:
        return session, new
    try:
        # Before we release anything, so that no other worker can join with the old interval.
        changed = Session(new, incarnation, session.notifier)
    except ConfigurationMismatch as error:
        stays = f"{PREFIX}PUBLISH_INTERVAL stays {settings.publish_interval}"
        answer.not_in_force(f"{stays}: {error}")
        return session, replace(new, publish_interval=settings.publish_interval)
    session.release()
    changed.shards.keep()
    answer.changed("publish_interval", settings, new)
    return changed, new


def _final(error: redis.RedisError, settings: Settings) -> WorkerError:
    """What ends the worker, in words for the user."""
    try:
        with suppress(redis.RedisError), connection.open_client(settings, block_s=0) as client:
            if any(text in str(error) for text in ("NOGROUP", "no such key")):
                return group_gone(client, settings.keys)
            if "WRONGTYPE" in str(error):
                check_types(client, settings)
    except WrongKeyType as wrong:
        return wrong
    return connection.unusable(error, settings)


def _once_redis_allows(
    action: Callable[[], T],
    settings: Settings,
    outage: Outage,
    notifier: Notifier,
    stop: Stop,
    *,
    transient: Callable[[BaseException], bool],
) -> T:
    """Run `action`, and retry it while its errors are `transient`. The log and the
    service manager are told what the worker waits for.
    """

    def attempt() -> T:
        if outage.text:
            notifier.beat(lambda: outage.text)
        return action()

    # G6: once Redis is back, its shards are served again within a lease time.
    longest_wait_s = min(connection.LONGEST_WAIT_S, settings.lease_seconds)
    done = connection.retry_transient(attempt, stop, outage.note, transient, longest_wait_s)
    outage.end()
    return done
