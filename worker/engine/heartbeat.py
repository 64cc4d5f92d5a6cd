"""Reports readiness, and a status of one line, to the service manager."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from marketstate.worker.engine.invented import TITLE
from marketstate.worker.engine.shards import Shards
from marketstate.worker.engine.status import MOST_COUNTED_PERIODICALLY, Unread, unread
from marketstate.worker.engine.systemd import Notifier
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client


class LoopStatus(NamedTuple):
    is_synthetic: bool
    held: int
    shards: int
    symbols: int
    lag: Unread
    last_emission: tuple[int, str]
    """Close time in ms, and symbol."""

    @classmethod
    def of_all(cls, loops: Iterable[Self]) -> Self:
        """The sums."""
        synthetic, held, shards, symbols, lags, last = zip(*loops, strict=True)
        at_least = any(lag.at_least for lag in lags)
        lag = Unread(sum(lag.entries for lag in lags), at_least, None)
        return cls(any(synthetic), sum(held), sum(shards), sum(symbols), lag, max(last))

    def __str__(self) -> str:
        last_ms, symbol = self.last_emission
        last = f"{symbol} {utc(last_ms)} UTC" if last_ms else "none yet"
        first = f"{TITLE}, " if self.is_synthetic else ""
        return (
            f"{first}holding {self.held} of {self.shards} shards, {self.symbols} symbols, "
            f"lag {self.lag}, last emission {last}"
        )


class Heartbeat:
    def __init__(
        self, notifier: Notifier, settings: Settings, client: Client, shards: Shards
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

    def _status(self) -> LoopStatus:
        marks = [(memory.mark.close_time_ms, name) for _, name, memory in self._shards.remembered()]
        return LoopStatus(
            is_synthetic=self._settings.source == "synthetic",
            held=len(list(self._shards)),
            shards=self._settings.shards,
            symbols=self._shards.symbols_held,
            lag=self._lag(),
            last_emission=max(marks, default=(0, "")),
        )

    def _lag(self) -> Unread:
        keys = self._settings.keys
        groups: Any = self._client.xinfo_groups(keys.input)
        ours = (group for group in groups if group["name"] == keys.group.encode())
        for group in ours:
            return unread(self._client, keys, group, MOST_COUNTED_PERIODICALLY)
        # The group has just been deleted: the next fetch reports that better.
        return Unread(0, False, None)
