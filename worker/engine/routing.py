"""What `route.lua` is asked, and what its reply says: the Python side of its contract."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import Any, NamedTuple

import msgspec

from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES
from marketstate.worker.engine.changes import Entry
from marketstate.worker.engine.group import meta_gone
from marketstate.worker.keys import INTAKE, shard_name
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.asking_client import Word
from marketstate.worker.store.scripts import Scripts


class Routed(NamedTuple):
    """The reply of `route.lua`, item by item."""

    routed: int
    """How many entries were handed to their shards."""
    lost: int
    """How many were found trimmed before they were read."""
    back: int
    """How many were counted as lost before, and came back."""
    last_seen_id: bytes
    suspect: bytes
    """Two ids between which an unknown number may have been trimmed; or empty."""
    unknown: bytes
    """What `entries_accounted` is, where that says nothing about what was read; or empty."""
    stray: bytes
    """A consumer that held entries although it is not a shard; or empty."""
    last_notice: bytes
    """The id of the last notice that a worker has released shards."""
    last_handed_over: bytes
    """The id of the last entry that says that a worker has handed entries to others' shards."""
    now_ms: int
    """By Redis's clock."""
    heads: bytes
    lengths: bytes
    text: list[bytes]

    def entries(self) -> Iterator[Entry]:
        """The entries as `route.lua` has packed them."""
        ends = [0, *accumulate(msgspec.msgpack.decode(self.lengths, type=list[int]))]
        text = b"".join(self.text)
        strings = iter([text[start:end] for start, end in pairwise(ends)])
        numbers = iter(msgspec.msgpack.decode(self.heads, type=list[int]))
        for shard, count in zip(numbers, numbers, strict=True):
            entry_id, fields = next(strings), islice(strings, count)
            yield Entry(shard, entry_id, dict(zip(fields, fields, strict=True)))


Question = tuple[list[str], list[Word]]
"""Keys and arguments of `route.lua`."""


class Router:
    """Hands new entries to their shards, and gets the oldest unfinished ones of our own."""

    def __init__(self, settings: Settings, scripts: Scripts) -> None:
        self._settings = settings
        self._keys = settings.keys
        self._scripts = scripts
        self._turn = 0
        self._said_unknown = False

    def route(
        self, shards: Iterable[int], most: int, keep: Callable[[], None] = lambda: None
    ) -> Routed:
        """Route what is new, and get at most `most` entries of our `shards`, each shard's in order.

        Nothing is routed before everything older is with its shard: entries that another consumer
        has taken from the group, or that are no longer pending for any consumer. That can take
        longer than a lease lasts, so `keep` is called repeatedly.
        """
        while True:
            reply = self._scripts.route(*self.question(shards, most))
            match reply:
                case [b"meta gone"]:
                    raise meta_gone(self._keys)
                case [b"missing", *missing]:
                    for shard in missing:
                        self._restore(shard)
                    keep()
                case _ if routed := self.understood(reply):
                    return routed

    def question(self, shards: Iterable[int], most: int, in_hand: Sequence[Entry] = ()) -> Question:
        """For the entries that follow `in_hand`. The shards take turns at being served first."""
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
            [
                keys.input,
                keys.meta,
                keys.counters,
                keys.unfinished,
                keys.notices,
                keys.handed_over,
                keys.commits,
            ],
            [
                keys.group,
                INTAKE,
                most,
                self._settings.max_pending,
                MAX_DOCUMENT_BYTES,
                self._settings.partitions or 1,
                msgspec.msgpack.encode(own),
                *map(shard_name, range(self._settings.shards)),
            ],
        )

    def understood(self, reply: list[Any]) -> Routed | None:
        """The reply, and a line in the log for whatever is unusual in it; None if older entries
        must be with their shards first, which is left to the next call of `route`.
        """
        match reply:
            case [b"meta gone"] | [b"missing", *_]:
                return None
        routed = Routed(*reply)
        self._log(routed)
        return None if routed.stray else routed

    def _log(self, reply: Routed) -> None:
        log.debug("routed %d entries", reply.routed)
        if reply.lost:
            log.warning(
                "%d entries of %s were trimmed before they were read, or acknowledged by others: "
                "lost",
                reply.lost,
                self._keys.input,
            )
        if reply.back:
            log.warning(
                "%d entries of %s that were counted as lost came back: their shards have them now",
                reply.back,
                self._keys.input,
            )
        if reply.unknown and not self._said_unknown:
            self._said_unknown = True
            log.warning(
                "how many entries group %s has read is not known (entries_accounted of %s is %s), "
                "for example after a move from Redis 6.2: what is trimmed unread cannot be counted "
                "as lost before everything is read once",
                self._keys.group,
                self._keys.meta,
                reply.unknown.decode(errors="replace"),
            )
        if reply.stray:
            log.warning(
                "the consumer %r held entries of group %s; %d of them are handed to their shards: "
                "nobody but the workers should read this group",
                reply.stray.decode(errors="replace"),
                self._keys.group,
                reply.routed,
            )
        if reply.suspect:
            log.warning(
                "entries between %s may have been trimmed from %s before anybody read them; "
                "they cannot be counted here (Redis 6.2 does not count what was added)",
                reply.suspect.decode(),
                self._keys.input,
            )

    def _restore(self, shard: int) -> None:
        """Once, which may be not enough: as long as something is missing, `route.lua` says so."""
        keys = self._keys
        verdict, *found = self._scripts.restore(
            keys=[
                keys.input,
                keys.meta,
                keys.counters,
                keys.unfinished,
                keys.finished_ids,
                keys.handed_over,
            ],
            args=[
                keys.group,
                shard,
                shard_name(shard),
                self._settings.shards,
                self._settings.partitions or 1,
                MAX_DOCUMENT_BYTES,
            ],
        )
        if verdict != b"restored":
            return
        restored, lost, damaged = found
        if damaged:
            log.warning(
                "the field %s of %s was %s, not a number of entries; it was counted again",
                shard_name(shard),
                keys.unfinished,
                damaged.decode(errors="replace"),
            )
        log.warning(
            "%s: %d unfinished entries were not pending for it and are pending again (was the "
            "consumer deleted, or did somebody claim them?); %d more are gone, trimmed or "
            "acknowledged by others: lost",
            shard_name(shard),
            restored,
            lost,
        )
