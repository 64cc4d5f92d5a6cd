"""What comes in: routes new entries to their shards, reads those of our own, and waits for more."""

import math
from collections.abc import Iterable
from typing import Any

from schemas.candle import MAX_DOCUMENT_BYTES
from worker.changes import Entry
from worker.connection import Client
from worker.errors import GroupDeleted
from worker.keys import INTAKE, shard_name
from worker.log import log
from worker.scripts import Scripts
from worker.settings import Settings
from worker.stop import Stop


class Intake:
    def __init__(self, settings: Settings, client: Client, scripts: Scripts) -> None:
        self._settings = settings
        self._keys = settings.keys
        self._client = client
        self._scripts = scripts
        self._last_seen_id = b"0-0"
        self._turn = 0
        self.last_notice = b"0-0"
        """Id of the last notice that a worker has given shards back."""

    def fetch(self, shards: Iterable[int], most: int) -> list[Entry]:
        """The oldest unfinished entries of our shards, `most` of them, each shard's in order.

        They are read from the start of each shard's pending list every time: what was finished
        is gone from it, so there is no position to remember or to lose.
        """
        pending = self._route(most)
        ready = [shard for shard in sorted(shards) if pending.get(shard)]
        self._turn += 1
        reads, room = [], most
        for i in range(len(ready)):
            shard = ready[(i + self._turn) % len(ready)]
            if room > 0:
                reads.append((shard, min(room, pending[shard])))
                room -= pending[shard]
        return self._read(reads)

    def wait(self, seconds: float, stop: Stop) -> None:
        """Block until an entry or a notice newer than all we have seen, a signal, or `seconds`."""
        block_ms = max(1, math.ceil(seconds * 1_000))
        newer_than: dict[Any, Any] = {
            self._keys.input: self._last_seen_id,
            self._keys.notices: self.last_notice,
        }
        stop.breaks_off(lambda: self._client.xread(newer_than, 1, block_ms))

    def _route(self, most: int) -> dict[int, int]:
        """Route what is new; the number of pending entries of each shard.

        Not before everything older is with its shard: entries that somebody else has taken from
        the group, or that are pending for nobody any more.
        """
        while True:
            reply = self._ask_to_route(most)
            match reply:
                case [b"meta gone"]:
                    raise GroupDeleted(
                        f"{self._keys.meta} is gone; see README, When the group is gone"
                    )
                case [b"missing", *shards]:
                    for shard in shards:
                        self._restore(shard)
                    continue
            routed, lost, self._last_seen_id, suspect, stray, self.last_notice, *pairs = reply
            self._tell(routed, lost, suspect, stray)
            if not stray:
                return dict(zip(pairs[::2], pairs[1::2], strict=True))

    def _ask_to_route(self, most: int) -> Any:
        keys = self._keys
        return self._scripts.route(
            keys=[keys.input, keys.meta, keys.counters, keys.unfinished, keys.notices],
            args=[
                keys.group,
                INTAKE,
                most,
                self._settings.max_pending,
                MAX_DOCUMENT_BYTES,
                *map(shard_name, range(self._settings.shards)),
            ],
        )

    def _tell(self, routed: int, lost: int, suspect: bytes, stray: bytes) -> None:
        keys = self._keys
        log.debug("routed %d entries", routed)
        if lost:
            log.warning(
                "%d entries of %s were trimmed before they were read, or acknowledged by others: "
                "lost",
                lost,
                keys.input,
            )
        if stray:
            log.warning(
                "the consumer %r held entries of group %s; %d of them are handed to their shards: "
                "nobody but the workers should read this group",
                stray.decode(errors="replace"),
                keys.group,
                routed,
            )
        if suspect:
            log.warning(
                "entries between %s may have been trimmed from %s before anybody read them; "
                "Redis 7 can count them, this one cannot",
                suspect.decode(),
                keys.input,
            )

    def _restore(self, shard: int) -> None:
        keys = self._keys
        restored, lost = self._scripts.restore(
            keys=[keys.input, keys.meta, keys.counters, keys.unfinished, keys.finished_ids],
            args=[
                keys.group,
                shard,
                shard_name(shard),
                self._settings.shards,
                MAX_DOCUMENT_BYTES,
            ],
        )
        log.warning(
            "%s: %d unfinished entries were not pending for it (was the consumer deleted, or did "
            "somebody claim them?) and are again; %d more are gone: trimmed, or acknowledged by "
            "others: lost",
            shard_name(shard),
            restored,
            lost,
        )

    def _read(self, reads: list[tuple[int, int]]) -> list[Entry]:
        with self._client.pipeline(transaction=False) as pipe:
            for shard, count in reads:
                pipe.xreadgroup(self._keys.group, shard_name(shard), {self._keys.input: "0"}, count)
            replies = pipe.execute()
        return [
            Entry(shard, entry_id, fields)
            for (shard, _), reply in zip(reads, replies, strict=True)
            for entry_id, fields in reply[0][1]
        ]
