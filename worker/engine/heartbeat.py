"""How the worker gets on, for the service manager: when it is ready, and its status in one line."""

import time
from typing import Any

from worker.engine.shards import Shards
from worker.engine.status import unread
from worker.engine.systemd import Notify
from worker.engine.utc import utc
from worker.settings import Settings
from worker.store.connection import Client


class Progress:
    def __init__(self, notify: Notify, settings: Settings, client: Client, shards: Shards) -> None:
        self._notify = notify
        self._settings = settings
        self._client = client
        self._shards = shards
        self._surplus_from_s = time.monotonic() + settings.lease_seconds

    def tell(self) -> None:
        """Once per turn of the loop, after the reading."""
        # Shares even out within a lease time. Whoever has none by then is one worker more than
        # there are shards: as ready as it will be, and there when another dies.
        if any(True for _ in self._shards) or time.monotonic() > self._surplus_from_s:
            self._notify.ready()
        self._notify.beat(self._status)

    def _status(self) -> str:
        held, of = len(list(self._shards)), self._settings.shards
        remembered = list(self._shards.remembered())
        last_ms, symbol = max(
            ((memory.mark.close_time_ms, name) for _, name, memory in remembered), default=(0, "")
        )
        last = f"{symbol} {utc(last_ms)} UTC" if last_ms else "none yet"
        return (
            f"holding {held} of {of} shards, {len(remembered)} symbols, lag {self._lag()}, "
            f"last emission {last}"
        )

    def _lag(self) -> int:
        keys = self._settings.keys
        groups: Any = self._client.xinfo_groups(keys.input)
        ours = (group for group in groups if group["name"] == keys.group.encode())
        # Where the group has just been deleted, the next reading says it better.
        return next((unread(self._client, keys, group)[0] for group in ours), 0)
