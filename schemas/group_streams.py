"""Reads one or more streams as one consumer of a group in each, so that no entry is skipped."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

POLL_S: Final = 0.2

Delivered = tuple[str, Any, Any]
"""Stream, id and fields of an entry; without fields, it has been trimmed."""


class StreamClient(Protocol):
    """What `StateReader` needs of a client; `redis.Redis` has it."""

    def xgroup_create(
        self, name: Any, groupname: Any, id: Any = ..., mkstream: bool = ...
    ) -> Any: ...

    def xreadgroup(
        self,
        groupname: Any,
        consumername: Any,
        streams: Any,
        count: int | None = ...,
        block: int | None = ...,
    ) -> Any: ...

    def xack(self, name: Any, groupname: Any, /, *ids: Any) -> Any: ...


class GroupStreams:
    def __init__(
        self,
        client: StreamClient,
        streams: Sequence[str],
        *,
        group: str,
        consumer: str,
        start: str,
        passing: tuple[type[Exception], ...],
        count: int,
        block_ms: int,
    ) -> None:
        """As `StateReader` has them."""
        self._client = client
        self._group = group
        self._consumer = consumer
        self._positions = dict.fromkeys(streams, start)
        self._passing = passing
        self._count = count
        self._block_ms = block_ms
        # Redis Cluster refuses a command for several partitions, even if they are on one node.
        self._is_apart = len(streams) > 1 and hasattr(client, "get_node_from_key")

    def fetch(self) -> list[Delivered]:
        """Our unacknowledged entries, each stream in its order; if there are none, new ones.

        New entries are taken first and then read back as our own. So even if the reply to the
        first read is lost, or the client silently retries it, no entry is skipped or out of order.
        """
        try:
            entries = self._read("0")
            if not entries and self._read(">"):
                entries = self._read("0")
            return entries
        except Exception as error:
            if "NOGROUP" not in str(error):
                raise
        self._create_groups()
        return []

    def acknowledge(self, stream: str, entry_id: Any) -> None:
        self._client.xack(stream, self._group, entry_id)
        self._positions[stream] = text_of(entry_id)

    def _read(self, after: str) -> list[Delivered]:
        if self._is_apart:
            return self._read_apart(after)
        return self._ask(self._positions, after, self._block_ms if after == ">" else None)

    def _read_apart(self, after: str) -> list[Delivered]:
        """Each stream by itself: a node that is away does not hold up what the others have."""
        found: list[Delivered] = []
        errors = []
        for stream in self._positions:
            try:
                found += self._ask([stream], after, None)
            except self._passing as error:
                errors.append(error)
        if len(errors) == len(self._positions):
            raise errors[0]
        if after == ">" and not found:
            # No command waits for several streams there.
            time.sleep(min(self._block_ms / 1_000, POLL_S))
        return found

    def _ask(self, streams: Iterable[str], after: str, block_ms: int | None) -> list[Delivered]:
        reply = self._client.xreadgroup(
            self._group,
            self._consumer,
            dict.fromkeys(streams, after),
            count=self._count,
            block=block_ms,
        )
        if not reply:
            return []
        if isinstance(reply, Mapping):  # RESP3
            reply = [
                (stream, [entry for batch in batches for entry in batch])
                for stream, batches in reply.items()
            ]
        return [
            (text_of(stream), entry_id, fields)
            for stream, entries in reply
            for entry_id, fields in entries
        ]

    def _create_groups(self) -> None:
        """A stream whose node is away gets its group when the node is back."""
        errors = []
        for stream, position in self._positions.items():
            try:
                self._client.xgroup_create(stream, self._group, id=position, mkstream=True)
            except self._passing as error:
                errors.append(error)
            except Exception as error:
                if "BUSYGROUP" not in str(error):  # it is there, or another consumer was faster
                    raise
        if len(errors) == len(self._positions):
            raise errors[0]


def text_of(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
