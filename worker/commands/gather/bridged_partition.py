"""A partition that entries are brought to: its stream, and how far it has been brought."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from marketstate.worker.commands.gather.destination import Destination, check_types
from marketstate.worker.engine.group import refuse_another_number_if_seen
from marketstate.worker.engine.plan import binary
from marketstate.worker.errors import RolledBack
from marketstate.worker.keys import BridgeKeys
from marketstate.worker.settings import Settings
from marketstate.worker.store import connection
from marketstate.worker.store.scripts import Scripts


class BridgedPartition:
    def __init__(
        self,
        settings: Settings,
        keys: BridgeKeys,
        field: str,
        max_length: float,
        max_backlog: float,
    ) -> None:
        """`field` is that of our source and workers."""
        client = connection.open_client(settings, block_s=0)
        self.settings = settings
        self.destination = Destination(client, settings.keys, max_length, max_backlog)
        self.position = ""
        """The last entry of the source that was brought here; empty if none was."""
        self._client = client
        self._scripts = Scripts(client)
        self._keys = keys
        self._field = field
        self._max_length = "" if max_length == math.inf else str(int(max_length))

    def refuse_another_number(self) -> None:
        """Raises PartitionCountMismatch if the workers have another number of partitions, which the
        user of deploy/redis/users.acl cannot see.
        """
        refuse_another_number_if_seen(self._client, self.settings)

    def look(self) -> None:
        """Read the position."""
        position: Any = self._client.hget(self._positions, self._field)
        self.position = (position or b"").decode()

    def append(self, entries: Sequence[list[bytes]], position: str) -> None:
        """Raises RolledBack if it is not where we left it."""
        stream = self.settings.keys.input
        reply: Any = self._scripts.bridge_write(
            keys=[stream, self._positions],
            args=[
                *(self._field, position, self._max_length),
                msgspec.msgpack.encode([binary(fields) for fields in entries]),
                self.position,
            ],
        )
        if reply[0] == b"elsewhere":
            raise RolledBack(
                f"{stream} has {self._keys.source} up to {reply[1].decode() or 'nothing'}, not to "
                f"{self.position or 'nothing'}"
            )
        check_types(reply)
        self.position = position
        self.destination.appended(len(entries))

    @property
    def _positions(self) -> str:
        partition = self.settings.partition
        assert partition is not None
        return self._keys.positions(partition)
