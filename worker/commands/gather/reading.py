"""Reads the gathered streams through their groups, for the one process that owns them."""

import math
import uuid
from collections import Counter
from typing import Any, Final, NamedTuple

import msgspec

from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.commands.gather.taken import TRIMMED
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.keys import GATHERER, GatherKeys
from marketstate.worker.log import log, repeats
from marketstate.worker.stop import Stop
from marketstate.worker.store.connection import Client
from marketstate.worker.store.scripts import Scripts

ENTRIES_AT_ONCE: Final = 500
BLOCK_S: Final = 5.0


class Read(NamedTuple):
    """An entry as it was read."""

    stream: str
    id: bytes
    parts: list[bytes] | None
    """Name, value, name, value, ...; None if it was trimmed after it had been taken."""

    @property
    def fields(self) -> dict[bytes, bytes] | None:
        parts = self.parts
        return None if parts is None else dict(zip(parts[::2], parts[1::2], strict=True))


class GroupReader:
    """It owns the group from its beginning: another one that was started before reads nothing from
    then on.
    """

    def __init__(
        self,
        client: Client,
        scripts: Scripts,
        keys: GatherKeys,
        sources: Sources,
        counts: Counter[str],
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = keys
        self._sources = sources
        self._counts = counts
        self.token = uuid.uuid4().hex
        client.set(keys.owner, self.token)
        sources.new_session()
        sources.look(client)

    def read(self) -> list[Read]:
        self._sources.rotate()
        streams = self._sources.streams
        if not streams:
            return []
        reply: Any = self._scripts.gather_read(
            keys=[self._keys.owner, *streams],
            args=[
                *(self.token, self._keys.group, GATHERER, ENTRIES_AT_ONCE),
                *(part for position in streams.values() for part in position.read_from),
            ],
        )
        self.check_owner(reply)
        taken = []
        for stream, found in zip(list(streams), reply[1 : len(streams) + 1], strict=True):
            if found == 0:
                self._sources.forget(stream)
                continue
            entries, may_lack = found
            if may_lack:
                self._note_trimmed(stream, streams[stream].last, entries[0][0])
            streams[stream].advance([entry_id for entry_id, _ in entries])
            taken += [Read(stream, entry_id, parts or None) for entry_id, parts in entries]
        return taken

    def _note_trimmed(self, stream: str, last: bytes, next_id: bytes) -> None:
        """How many there were, nobody can say: so it is counted how often there may have been."""
        log.warning(
            "entries of %s between %s and %s may have been trimmed before they were read",
            stream,
            last.decode(),
            next_id.decode(),
            extra={"kind": TRIMMED},
        )
        reply: Any = self._scripts.bridge_done(
            keys=[stream, self._keys.counters, self._keys.owner],
            args=[self._keys.group, self.token, msgspec.msgpack.encode([]), TRIMMED, 1],
        )
        self.check_owner(reply)
        self._counts[TRIMMED] += 1

    def wait(self, stop: Stop) -> None:
        """Until a stream has an entry newer than all that we have read, a signal, or for a while.
        This takes nothing from the groups.
        """
        if not self._sources.all_pending_is_read:
            return
        seconds = min(BLOCK_S, self._sources.seconds_to_look, repeats.seconds_to_tell)
        newer_than: dict[Any, Any] = {
            stream: position.last for stream, position in self._sources.streams.items()
        }
        if newer_than:
            block_ms = max(1, math.ceil(seconds * 1_000))
            stop.interrupts(lambda: self._client.xread(newer_than, 1, block_ms))
        else:
            stop.sleep(seconds)

    def check_owner(self, reply: list[Any]) -> None:
        if reply[0] == b"not ours":
            raise RedisUnusable(
                f"the group {self._keys.group} is no longer ours: another gatherer was started "
                "after this one and goes on from here, or Redis went back to older data; two at a "
                "time need a --group each"
            )
