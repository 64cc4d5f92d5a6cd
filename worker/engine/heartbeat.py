"""Reports readiness, and a status of one line, to the service manager."""

import time
from typing import Any

from worker.engine.invented import TITLE
from worker.engine.shards import Shards
from worker.engine.status import MOST_COUNTED_PERIODICALLY, unread
from worker.engine.systemd import SystemdNotifier
from worker.engine.utc import utc
from worker.settings import Settings
from worker.store.connection import Client


class Heartbeat:
    def __init__(
        self, notifier: SystemdNotifier, settings: Settings, client: Client, shards: Shards
    ) -> None:
        self._notifier = notifier
        self._settings = settings
        self._client = client
        self._shards = shards
        self._surplus_from_s = time.monotonic() + settings.lease_seconds

    def beat(self) -> None:
        """Once per turn of the loop, after the batch."""
        # Shares even out within a lease time. A worker that has no shard by then is one more than
        # there are shards: it is as ready as it will be, and takes over when another dies.
        if any(True for _ in self._shards) or time.monotonic() > self._surplus_from_s:
            self._notifier.ready()
        self._notifier.beat(self._status)

    def _status(self) -> str:
        held, of = len(list(self._shards)), self._settings.shards
        remembered = list(self._shards.remembered())
        last_ms, symbol = max(
            ((memory.mark.close_time_ms, name) for _, name, memory in remembered), default=(0, "")
        )
        last = f"{symbol} {utc(last_ms)} UTC" if last_ms else "none yet"
        first = f"{TITLE}, " if self._settings.source == "synthetic" else ""
        return (
            f"{first}holding {held} of {of} shards, {len(remembered)} symbols, lag {self._lag()}, "
            f"last emission {last}"
        )

    def _lag(self) -> str:
        keys = self._settings.keys
        groups: Any = self._client.xinfo_groups(keys.input)
        ours = (group for group in groups if group["name"] == keys.group.encode())
        for group in ours:
            return str(unread(self._client, keys, group, MOST_COUNTED_PERIODICALLY))
        # The group has just been deleted: the next fetch reports that better.
        return "0"
