"""Reads one or more streams as one consumer of a group in each, so that no entry is skipped.

These are the rules alone, see `schemas/steps.py`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from marketstate.schemas.steps import Steps, T, Wait, command, command_to_node

POLL_S: Final = 0.2
RETRY_S: Final = 0.5

_log: Final = logging.getLogger(__name__)

Delivered = tuple[str, Any, Any]
"""Stream, id and fields of an entry; without fields, it has been trimmed."""


class GroupStreams:
    def __init__(
        self,
        streams: Sequence[str],
        *,
        group: str,
        consumer: str,
        start: str,
        passes: Callable[[BaseException], bool],
        count: int,
        block_ms: int,
        apart: bool,
    ) -> None:
        """As `Delivery` has them. `apart`: no command may read several of the streams."""
        self._group = group
        self._consumer = consumer
        self._positions = dict.fromkeys(streams, start)
        self._passes = passes
        self._count = count
        self._apart = apart
        # No command waits for several streams of a cluster.
        self._wait_s = min(block_ms / 1_000, POLL_S) if apart else 0.0
        self._block_ms = block_ms
        self._parts = [_Part((each,)) for each in streams] if apart else [_Part(tuple(streams))]
        self._part_of = {stream: part for part in self._parts for stream in part.streams}

    def fetch(self) -> Steps[list[Delivered]]:
        """Our unacknowledged entries, each stream in its order; if there are none, new ones.

        New entries are taken first and then read back as our own. So even if the reply to the
        first read is lost, or the client silently retries it, no entry is skipped or out of order.
        """
        entries = yield from self._read("0")
        if not entries and (yield from self._read(">")):
            entries = yield from self._read("0")
        if not entries:
            yield Wait(self._rest_s())
        return entries

    def is_owing(self, stream: str) -> bool:
        """Whether the acknowledgement of an entry failed. Until it has succeeded, what follows in
        this part of the streams is left pending, and comes again.
        """
        return bool(self._part_of[stream].owed)

    def acknowledge(self, stream: str, entry_id: Any) -> Steps[None]:
        """If it fails and may be tried again, the next `fetch` does that first. So a node that is
        away holds up nothing that others have.
        """
        self._positions[stream] = text_of(entry_id)
        part = self._part_of[stream]
        part.owed = (stream, entry_id)
        yield from self._try(part, self._settle(part), None)

    def _read(self, after: str) -> Steps[list[Delivered]]:
        found: list[Delivered] = []
        for part in self._parts:
            if part.rests_until_s <= time.monotonic():
                found += yield from self._try(part, self._read_part(part, after), [])
        return found

    def _read_part(self, part: "_Part", after: str) -> Steps[list[Delivered]]:
        yield from self._settle(part)
        try:
            reply = yield from self._read_through_group(part, after)
        except Exception as error:
            if "NOGROUP" not in str(error):
                raise
            yield from self._create_groups(part.streams)
            return []
        return list(_entries_in(reply))

    def _read_through_group(self, part: "_Part", after: str) -> Steps[Any]:
        if self._apart:
            (stream,) = part.streams
            of_group = ("GROUP", self._group, self._consumer, "COUNT", self._count)
            words = ("XREADGROUP", *of_group, "STREAMS", stream, after)
            return (yield from command_to_node(stream, *words))
        return (
            yield from command(
                "xreadgroup",
                self._group,
                self._consumer,
                dict.fromkeys(part.streams, after),
                count=self._count,
                block=self._block_ms if after == ">" else None,
            )
        )

    def _settle(self, part: "_Part") -> Steps[None]:
        if part.owed:
            stream, entry_id = part.owed
            yield from command("xack", stream, self._group, entry_id)
            part.owed = None

    def _create_groups(self, streams: Sequence[str]) -> Steps[None]:
        for stream in streams:
            if self._positions[stream] == "$":
                # An id: if the group is lost before anything was read, it begins there once more.
                newest = yield from command("xrevrange", stream, count=1)
                self._positions[stream] = text_of(newest[0][0]) if newest else "0"
            try:
                yield from command(
                    "xgroup_create", stream, self._group, id=self._positions[stream], mkstream=True
                )
            except Exception as error:
                if "BUSYGROUP" not in str(error):  # it is there, or another consumer was faster
                    raise

    def _try(self, part: "_Part", steps: Steps[T], otherwise: T) -> Steps[T]:
        """After an error that passes, the part rests: so long that all that are away, asked one
        after the other, leave half of the time to the others.
        """
        began_s = time.monotonic()
        try:
            done = yield from steps
        except Exception as error:
            if not self._passes(error):
                raise
            if not part.is_away:
                _log.warning("%s is away, and is tried again: %s", part, error)
            part.is_away = True
            now_s, away = time.monotonic(), sum(each.is_away for each in self._parts)
            part.rests_until_s = now_s + max(RETRY_S, 2 * away * (now_s - began_s))
            return otherwise
        if part.is_away:
            _log.warning("%s is back", part)
            part.is_away = False
            for each in self._parts:  # others may be on the same node
                each.rests_until_s = 0.0
        return done

    def _rest_s(self) -> float:
        """Until a read may find something."""
        soonest_s = min(part.rests_until_s for part in self._parts)
        return max(self._wait_s, min(RETRY_S, soonest_s - time.monotonic()), 0.0)


class _Part:
    """Streams that one command reads."""

    def __init__(self, streams: tuple[str, ...]) -> None:
        self.streams = streams
        self.owed: tuple[str, Any] | None = None
        """Of an entry that was handed out and is to be acknowledged."""
        self.is_away = False
        self.rests_until_s = 0.0

    def __str__(self) -> str:
        others = len(self.streams) - 1
        return self.streams[0] + (f" (and {others} others)" if others else "")


def _entries_in(reply: Any) -> Iterator[Delivered]:
    """Of XREADGROUP, by RESP2 or RESP3."""
    for stream, entries in reply.items() if isinstance(reply, Mapping) else reply or ():
        for batch in [entries] if not isinstance(reply, Mapping) else entries:
            for entry_id, fields in batch:
                yield text_of(stream), entry_id, fields


def text_of(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
