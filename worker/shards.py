"""The shards this worker holds: their leases, and what is remembered of their symbols.

Memory is only ever what Redis has: loaded when a shard is taken, moved after a commit that
succeeded, dropped as soon as the lease is in doubt.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from core.window import Window
from worker import mirror
from worker.errors import LeaseLost, RedisUnusable, WorkerIdInUse
from worker.log import log
from worker.pipeline import Changes, Memory
from worker.scripts import Scripts
from worker.settings import Settings

KEEPS_PER_LEASE: Final = 3


@dataclass
class Shard:
    token: str
    symbols: dict[str, Memory] = field(default_factory=dict)


class Shards:
    def __init__(self, settings: Settings, scripts: Scripts, incarnation: str) -> None:
        """`incarnation` is one per process: it tells two workers with one id apart."""
        self._settings = settings
        self._keys = settings.keys
        self._scripts = scripts
        self._incarnation = incarnation
        self._held: dict[int, Shard] = {}
        self._next_keep_s = 0.0

    def __contains__(self, shard: int) -> bool:
        return shard in self._held

    def __iter__(self) -> Iterator[int]:
        return iter(self._held)

    def token(self, shard: int) -> str:
        try:
            return self._held[shard].token
        except KeyError:
            raise LeaseLost([shard]) from None

    def memory(self, shard: int, symbol: str) -> Memory | None:
        return self._held[shard].symbols.get(symbol)

    @property
    def seconds_to_keep(self) -> float:
        """How long nothing needs to be done about the leases."""
        return max(0.0, self._next_keep_s - time.monotonic())

    def keep(self) -> None:
        """Renew, give back and take leases, about three times per lease time."""
        if self.seconds_to_keep > 0:
            return
        tokens = self._ask_to_keep()
        for shard in [shard for shard in self._held if tokens[shard] != self._held[shard].token]:
            log.info("shard %d has passed to another worker", shard)
            del self._held[shard]
        taken = [shard for shard, token in enumerate(tokens) if token and shard not in self._held]
        for shard in taken:
            self._load(shard, tokens[shard])
        self._next_keep_s = time.monotonic() + self._settings.lease_seconds / KEEPS_PER_LEASE
        if taken:
            log.info("holding %d of %d shards", len(self._held), self._settings.shards)

    def drop(self, shards: Iterable[int]) -> None:
        """Forget shards whose lease is lost, and see at once what is left to take."""
        for shard in shards:
            self._held.pop(shard, None)
        self._next_keep_s = 0.0

    def move(self, changes: Changes) -> None:
        """Carry out in memory what a commit has made true in Redis."""
        for symbol, change in changes.symbols.items():
            symbols = self._held[change.shard].symbols
            change.before.extend(change.close_times_ms, change.closes)
            symbols[symbol] = Memory(change.before, change.last_emitted_ms)

    def release(self) -> None:
        """Give everything back, so that others take it without waiting for an expiry."""
        shards = list(self._held)
        self._scripts.release(
            keys=[self._keys.members, *map(self._keys.lease, shards)],
            args=[
                self._settings.worker_id,
                self._incarnation,
                *(self._held[shard].token for shard in shards),
            ],
        )
        self._held = {}

    def _ask_to_keep(self) -> list[str]:
        every = range(self._settings.shards)
        reply = self._scripts.keep(
            keys=[self._keys.members, self._keys.epoch, *map(self._keys.lease, every)],
            args=[
                self._settings.worker_id,
                self._incarnation,
                self._settings.lease_ms,
                *(self._held[shard].token if shard in self._held else "" for shard in every),
            ],
        )
        if reply[0] == b"in use":
            raise WorkerIdInUse(
                f"another worker with the id {self._settings.worker_id!r} was seen "
                f"{reply[1]} ms ago; give each worker its own MARKETSTATE_WORKER_ID"
            )
        return [token.decode() for token in reply[2:]]

    def _load(self, shard: int, token: str) -> None:
        """Read marks and windows of a newly taken shard; nobody else can change them by now."""
        found = self._scripts.load(keys=[self._keys.marks(shard)], args=[self._keys.window("")])
        self._held[shard] = Shard(
            token,
            {
                symbol.decode(): Memory(self._window(symbol.decode(), packed), int(mark))
                for symbol, mark, packed in zip(found[::3], found[1::3], found[2::3], strict=True)
            },
        )

    def _window(self, symbol: str, packed: bytes) -> Window:
        window = Window(self._settings.window_size)
        try:
            window.extend(*mirror.unpack(packed))
        except ValueError as error:
            raise RedisUnusable(
                f"the window in {self._keys.window(symbol)} is damaged ({error}); "
                "delete this key, and the symbol starts anew"
            ) from None
        return window
