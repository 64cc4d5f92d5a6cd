"""What comes in: routes new entries to their shards, reads those of our own, and waits for more."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice, pairwise
from typing import Any

import msgspec
import redis

from schemas.candle import MAX_DOCUMENT_BYTES
from worker.engine.changes import Entry
from worker.engine.group import meta_gone
from worker.keys import INTAKE, shard_name
from worker.log import log
from worker.settings import Settings
from worker.stop import Stop
from worker.store import scripts
from worker.store.connection import Client
from worker.store.scripts import Scripts


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
        self._clock_ahead_ms = 0.0

    def fetch(self, shards: Iterable[int], most: int) -> list[Entry]:
        """Route what is new; the oldest unfinished entries of our shards, `most` of them, each
        shard's in order.

        Nothing is routed before everything older is with its shard: entries that somebody else
        has taken from the group, or that are pending for nobody any more.
        """
        while True:
            reply = self._scripts.route(*self._question(shards, most, ()))
            match reply:
                case [b"meta gone"]:
                    raise meta_gone(self._keys)
                case [b"missing", *missing]:
                    for shard in missing:
                        self._restore(shard)
                    continue
            entries = self._understood(reply)
            if entries is not None:
                return entries

    def ask_ahead(self, shards: Iterable[int], most: int, in_hand: Iterable[Entry]) -> None:
        """Send for the entries behind those in hand, for Redis to look them up meanwhile."""
        scripts.send(self._scripts.route, *self._question(shards, most, in_hand))

    def answer(self) -> list[Entry]:
        """What `ask_ahead` has asked for; nothing where more must be seen to, which is left to the
        next `fetch`: no command may be sent here, for the reply to another may be on its way.
        """
        try:
            reply = scripts.receive(self._scripts.route)
        except redis.exceptions.NoScriptError:
            return []
        match reply:
            case [b"meta gone"] | [b"missing", *_]:
                return []
        return self._understood(reply) or []

    def now_ms(self) -> int:
        """The time of Redis's clock: never later than it is, behind by what the last reply was on
        its way, or lay unread while we calculated.
        """
        return int(self._clock_ahead_ms + time.monotonic() * 1_000)

    def wait(self, seconds: float, stop: Stop) -> None:
        """Block until an entry or a notice newer than all we have seen, a signal, or `seconds`."""
        block_ms = max(1, math.ceil(seconds * 1_000))
        newer_than: dict[Any, Any] = {
            self._keys.input: self._last_seen_id,
            self._keys.notices: self.last_notice,
        }
        stop.breaks_off(lambda: self._client.xread(newer_than, 1, block_ms))

    def _question(
        self, shards: Iterable[int], most: int, in_hand: Iterable[Entry]
    ) -> tuple[list[str], list[Any]]:
        keys = self._keys
        last_ids = {entry.shard: entry.id for entry in in_hand}
        counts = Counter(entry.shard for entry in in_hand)
        held = sorted(shards)
        self._turn += 1
        first = self._turn % max(1, len(held))
        own = [
            (shard, last_ids.get(shard, b"0").decode(), counts[shard])
            for shard in (*held[first:], *held[:first])
        ]
        return (
            [keys.input, keys.meta, keys.counters, keys.unfinished, keys.notices],
            [
                keys.group,
                INTAKE,
                most,
                self._settings.max_pending,
                MAX_DOCUMENT_BYTES,
                msgspec.msgpack.encode(own),
                *map(shard_name, range(self._settings.shards)),
            ],
        )

    def _understood(self, reply: list[Any]) -> list[Entry] | None:
        """The entries in a reply, after a line in the log for what else it tells; None when
        entries that somebody else had taken were handed over first.
        """
        routed, lost, self._last_seen_id, suspect, stray, self.last_notice, now_ms, *packed = reply
        self._clock_ahead_ms = now_ms - time.monotonic() * 1_000
        self._tell(routed, lost, suspect, stray)
        return None if stray else list(_unpack(*packed))

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


def _unpack(heads: bytes, lengths: bytes, text: bytes) -> Iterator[Entry]:
    """The entries as route.lua has laid them out."""
    ends = [0, *accumulate(msgspec.msgpack.decode(lengths, type=list[int]))]
    strings = iter([text[start:end] for start, end in pairwise(ends)])
    numbers = iter(msgspec.msgpack.decode(heads, type=list[int]))
    for shard, count in zip(numbers, numbers, strict=True):
        entry_id, fields = next(strings), islice(strings, count)
        yield Entry(shard, entry_id, dict(zip(fields, fields, strict=True)))
