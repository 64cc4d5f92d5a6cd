"""What comes in: fetches entries, asks ahead for the next ones, and waits for more."""

import math
import time
from typing import Any

import redis

from marketstate.worker.engine.changes import Reading
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.engine.routing import Routed, Router
from marketstate.worker.engine.shards import Shards
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store.asking_client import AskingClient, Reply
from marketstate.worker.store.scripts import Scripts


class Intake:
    """Fetches the oldest unfinished entries of the shards held, and tells what each one is.

    While a batch is calculated, Redis can already look up the next one. The reply is used at most
    once, by the next `fetch`, and only if we still hold the same shards as then: otherwise another
    worker may have finished the entries, or the commit before them was refused.
    """

    def __init__(
        self,
        settings: Settings,
        client: AskingClient,
        scripts: Scripts,
        shards: Shards,
        pipeline: Pipeline,
    ) -> None:
        self._keys = settings.keys
        self._client = client
        self._route = scripts.route
        self._router = Router(settings, scripts)
        self._shards = shards
        self._pipeline = pipeline
        self._ahead: Reply | None = None
        self._asked_under = 0
        self._asked_for = 0
        self._last_seen_id = b"0-0"
        self._last_handed_over = b"0-0"
        self._clock_ahead_ms = 0.0
        # To look costs Redis a dozen commands, and each partition has a loop of every worker.
        self._longest_rest_s = 0.0 if settings.partition is None else settings.lease_seconds
        self._nothing_came = False
        self._looked_s = -math.inf
        self._looked_under = 0
        self.last_notice = b"0-0"
        """Id of the last notice that a worker has released shards."""
        self.is_full = False
        """Whether the last `fetch` gave or routed as much as was wanted: more may be waiting."""

    def fetch(self, most: int) -> list[Reading]:
        """What was asked ahead, or else what Redis has now, at most `most`; each shard's in order.

        Raises GroupDeleted.
        """
        ahead = self._asked_ahead()
        if ahead and self._asked_under == self._shards.version:
            return ahead
        if self._may_rest():
            self.is_full = False
            return []
        self._nothing_came = False
        self._looked_s, self._looked_under = time.monotonic(), self._shards.version
        return self._read(self._router.route(self._shards, most, self._shards.keep), most)

    def ask_ahead(self, in_hand: list[Reading], most: int) -> None:
        """Ask for at most `most` entries that follow `in_hand`, and do not wait for the reply."""
        entries = [reading.entry for reading in in_hand]
        self._asked_under, self._asked_for = self._shards.version, most
        question = self._router.question(self._shards, most, entries)
        self._ahead = self._client.ask(self._route, *question)

    def now_ms(self) -> int:
        """The time of Redis's clock, minus the time that the last reply took to reach us and to be
        read.
        """
        return int(self._clock_ahead_ms + time.monotonic() * 1_000)

    def wait(self, seconds: float, stop: Stop) -> None:
        """Block until an entry or a notice newer than all we have seen, until another worker hands
        entries to the shards of others, a signal, or `seconds`.
        """
        block_ms = max(1, math.ceil(seconds * 1_000))
        newer_than: dict[Any, Any] = {
            self._keys.input: self._last_seen_id,
            self._keys.notices: self.last_notice,
            self._keys.handed_over: self._last_handed_over,
        }

        def read() -> None:
            self._nothing_came = not self._client.xread(newer_than, 1, block_ms)

        stop.interrupts(read, cut=self._client.cut)
        if stop.requested:
            self._client.disconnect()

    def _may_rest(self) -> bool:
        """Whether there can be nothing to fetch. What people do to the group by hand is noticed
        later.
        """
        return (
            self._nothing_came
            and self._looked_under == self._shards.version
            and time.monotonic() - self._looked_s < self._longest_rest_s
        )

    def _asked_ahead(self) -> list[Reading]:
        """The reply to `ask_ahead`; nothing if Redis refused it, or if `fetch` must do something
        first.
        """
        reply, self._ahead = self._ahead, None
        if reply is None:
            return []
        try:
            routed = self._router.understood(reply.read())
        except redis.ResponseError:
            return []
        return self._read(routed, self._asked_for) if routed else []

    def _read(self, routed: Routed, most: int) -> list[Reading]:
        self._clock_ahead_ms = routed.now_ms - time.monotonic() * 1_000
        self._last_seen_id, self.last_notice = routed.last_seen_id, routed.last_notice
        self._last_handed_over = routed.last_handed_over
        readings = self._pipeline.read(routed.entries())
        self.is_full = max(routed.routed, len(readings)) >= most
        return readings
