"""Gathers until a signal: a new session whenever Redis was away, and a line a minute about it."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import redis

from marketstate.worker.commands.gather.bridge import Bridge
from marketstate.worker.commands.gather.session import Session
from marketstate.worker.commands.gather.sources import Sources, count_of_streams
from marketstate.worker.commands.gather.taken import ENDS, GATHERED, TRIMMED
from marketstate.worker.log import log, repeats
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection
from marketstate.worker.store.outage import Outage
from marketstate.worker.store.refusal import is_transient, refuses_for_now

TELL_EVERY_S: Final = 60.0
ACCOUNT: Final = "marketstate-gather"
"""The user of deploy/redis/users.acl that may do this."""


class Gatherer:
    """Begins a new session whenever Redis was away, and says what has been gathered."""

    def __init__(
        self,
        settings: Settings,
        sources: Sources,
        begin: Callable[[], Session | Bridge],
        counts: Counter[str],
        stop: Stop,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._begin = begin
        self._stop = stop
        self._counts = counts
        self._told: Counter[str] = Counter()
        self._tell_s = time.monotonic() + TELL_EVERY_S

    def run(self) -> None:
        """Until a signal. Raises WorkerError for what waiting cannot fix."""
        try:
            session = self._enter()
            outage = Outage(self._settings, log.warning)
            if not self._sources.streams:
                log.warning("no such stream yet; waiting for one")
            while not self._stop.requested:
                try:
                    session.work(self._stop)
                    self._tell()
                except redis.RedisError as error:
                    if self._stop.requested or not is_transient(error):
                        raise
                    outage.note(error)
                    session = connection.retry_transient(self._begin, self._stop, outage.note)
                    outage.end()
        except redis.RedisError as error:
            if not self._stop.requested:
                raise connection.unusable(error, self._settings, ACCOUNT) from error
        finally:
            repeats.tell(at_once=True)
            log.info("in all: %s", _in_words(self._counts))

    def _enter(self) -> Session | Bridge:
        """Fails at once if Redis is away, but waits while it is full or loads its data."""
        outage = Outage(self._settings, log.warning, begins="waiting for Redis")
        session = connection.retry_transient(self._begin, self._stop, outage.note, refuses_for_now)
        outage.end()
        return session

    def _tell(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._tell_s:
            since = self._counts - self._told
            log.info("%s: %s", count_of_streams(len(self._sources.streams)), _in_words(since))
            self._told, self._tell_s = self._counts.copy(), now_s + TELL_EVERY_S


def _in_words(counts: Counter[str]) -> str:
    """Each end that occurred, and `gathered` in any case."""
    shown = (end for end in (*ENDS, TRIMMED) if counts[end] or end == GATHERED)
    return ", ".join(f"{end} {counts[end]:,}" for end in shown)
