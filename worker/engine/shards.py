"""The shards that this worker holds: their leases, and the memory of their symbols.

Memory only ever mirrors Redis: it is loaded when a shard is taken, updated after a successful
commit, and dropped as soon as the lease is in doubt.

A lease is not a lock: a worker can be paused at any point and still believe that it holds a shard
that it lost long ago. This is what happens then, with a lease of 10 s:

     0 s  A renews its lease of shard 7, token `A:41`, and computes a batch
     1 s  A checks the clock: its lease is valid for 9 s more, so it is about to commit ...
     1 s  ... and is paused here, between that check and its write
    10 s  the lease expires
    10 s  B takes shard 7 with token `B:42`, loads the window, applies the same batch, commits
    30 s  A continues and sends its commit
    30 s  commit.lua compares `A:41` with `B:42` inside Redis, in the same step that would write:
          it refuses. None of A's batch is written, and nothing is acknowledged
    30 s  A gets LeaseLost and drops the shard

No check by A could prevent this: A can be paused after any check that it makes before it writes.
So the write itself does the check, and so does `release`. Epochs are never reused: even if A takes
shard 7 again, a delayed commit with the old token `A:41` is refused.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from schemas.candle import Candle
from worker.engine.broken_commits import complete
from worker.engine.changes import Changes, Damaged, Memory, Reading
from worker.engine.group import meta_gone, settings_differ, shared_settings
from worker.engine.loading import Loading
from worker.engine.quarantine import Quarantine, Shard
from worker.errors import LeaseLost, WorkerIdInUse
from worker.log import log
from worker.settings import Settings
from worker.store.scripts import Scripts

KEEPS_PER_LEASE: Final = 3
EXPIRED_BY_S: Final = 0.02


class Shards:
    def __init__(self, settings: Settings, scripts: Scripts, incarnation: str) -> None:
        """`incarnation` is unique per process: it distinguishes two workers with the same id."""
        self._settings = settings
        self._keys = settings.keys
        self._scripts = scripts
        self._incarnation = incarnation
        self._shared_settings = shared_settings(settings)
        self._loading = Loading(settings, scripts)
        self._quarantine = Quarantine(settings, scripts, self._loading)
        self._held: dict[int, Shard] = {}
        self._next_keep_s = 0.0
        self._notice_id = b"0-0"
        self.version = 0
        """Changes whenever a shard is taken or lost."""

    def __iter__(self) -> Iterator[int]:
        return iter(self._held)

    def token(self, shard: int) -> str:
        try:
            return self._held[shard].token
        except KeyError:
            raise LeaseLost([shard]) from None

    def last_commit(self, shard: int) -> str:
        """The id of the last one that we know of."""
        return self._held[shard].last_commit

    def memory(self, shard: int, symbol: str) -> Memory | Damaged | None:
        held = self._held[shard]
        return held.symbols.get(symbol) or held.aside.get(symbol)

    def unfamiliar(self, readings: Iterable[Reading]) -> list[Reading]:
        """Those with a candle of a symbol of which nothing is remembered, or not all there was."""
        return [
            reading
            for reading in readings
            if isinstance(reading.found, Candle)
            and (
                (known := self._held[reading.entry.shard].symbols.get(reading.found.symbol)) is None
                or known.left is not None
            )
        ]

    def look_up(self, unfamiliar: Iterable[Reading]) -> None:
        """Of these symbols, load what Redis has without a mark, or since it was repaired."""
        symbols: dict[int, dict[str, None]] = {}
        for entry, _, found in unfamiliar:
            if isinstance(found, Candle):
                symbols.setdefault(entry.shard, {})[found.symbol] = None
        for number, names in symbols.items():
            shard = self._held[number]
            self._quarantine.look_again(shard, [name for name in names if name in shard.aside])
            new = [n.encode() for n in names if n not in shard.symbols and n not in shard.aside]
            if new:
                loaded = self._loading.load(number, new)
                shard.symbols |= loaded.symbols
                self._quarantine.set_aside(shard, loaded.damaged)

    def set_aside(self, changes: Changes, reasons: Mapping[str, str]) -> None:
        """Symbols that `changes` could not be committed for."""
        for symbol, reason in reasons.items():
            shard = self._held[changes.symbols[symbol].shard]
            self._quarantine.set_aside(shard, {symbol: Damaged(symbol.encode(), reason)})

    def remembered(self) -> Iterator[tuple[int, str, Memory]]:
        """Every symbol of the held shards: its shard, its name, its memory."""
        for number, shard in self._held.items():
            for symbol, memory in shard.symbols.items():
                yield number, symbol, memory

    @property
    def seconds_to_keep(self) -> float:
        """Seconds until the leases need attention."""
        return max(0.0, self._next_keep_s - time.monotonic())

    def keep(self) -> None:
        """Renew, release and take leases, about three times per lease time."""
        if self.seconds_to_keep > 0:
            return
        soonest_s, tokens = self._ask_to_keep()
        for number in [n for n, shard in self._held.items() if tokens[n] != shard.token]:
            log.info("the lease of shard %d was lost or released", number)
            del self._held[number]
            self.version += 1
        taken = [n for n, token in enumerate(tokens) if token and n not in self._held]
        for number in taken:
            try:
                self._load(number, tokens[number])
            except LeaseLost as lost:
                log.warning("%s, before it was loaded", lost)
        for shard in self._held.values():
            self._quarantine.look_at_some(shard)
        # Look again when a lease is about to expire: its holder may have died (G6).
        pause_s = min(self._settings.lease_seconds / KEEPS_PER_LEASE, soonest_s + EXPIRED_BY_S)
        self._next_keep_s = time.monotonic() + pause_s
        if taken:
            log.info("holding %d of %d shards", len(self._held), self._settings.shards)

    def notice(self, notice_id: bytes) -> None:
        """Take the id of the last notice; a new one means that there may be shards to take."""
        if notice_id != self._notice_id:
            self._notice_id = notice_id
            self._next_keep_s = 0.0

    def drop(self, shards: Iterable[int]) -> None:
        """Forget shards whose lease is lost, and check immediately what there is to take."""
        for shard in shards:
            self._held.pop(shard, None)
            self.version += 1
        self._next_keep_s = 0.0

    def move(self, changes: Changes, commit_id: str, committed_ms: int) -> None:
        """Apply to memory what a commit wrote to Redis at `committed_ms`, by Redis's clock."""
        for symbol, change in changes.symbols.items():
            symbols = self._held[change.shard].symbols
            change.before.extend(change.close_times_ms, change.closes)
            mark = change.mark
            if mark.close_time_ms and not mark.published_ms:
                mark = mark._replace(published_ms=committed_ms)
            symbols[symbol] = Memory(change.before, mark)
        for shard in changes.finished:
            self._held[shard].last_commit = commit_id

    def release(self) -> None:
        """Release everything, so that others can take it without waiting for an expiry."""
        shards = list(self._held)
        self._scripts.release(
            keys=[self._keys.members, self._keys.notices, *map(self._keys.lease, shards)],
            args=[
                self._settings.worker_id,
                self._incarnation,
                *(self._held[shard].token for shard in shards),
            ],
        )
        self._held = {}

    def _ask_to_keep(self) -> tuple[float, list[str]]:
        """Seconds until another worker's lease may expire; our token or `""` for each shard."""
        every = range(self._settings.shards)
        reply = self._scripts.keep(
            keys=[
                self._keys.members,
                self._keys.epoch,
                self._keys.meta,
                self._keys.notices,
                *map(self._keys.lease, every),
            ],
            args=[
                self._settings.worker_id,
                self._incarnation,
                self._settings.lease_ms,
                self._shared_settings,
                *(self._held[shard].token if shard in self._held else "" for shard in every),
            ],
        )
        match reply:
            case [b"in use", silent_ms]:
                raise WorkerIdInUse(
                    f"another worker with the id {self._settings.worker_id!r} was seen "
                    f"{silent_ms} ms ago; give each worker its own MARKETSTATE_WORKER_ID"
                )
            case [b"settings changed", b""]:
                raise meta_gone(self._keys)
            case [b"settings changed", found]:
                raise settings_differ(self._settings, found.decode(), "restart this one")
        _, soonest_ms, *tokens = reply
        return soonest_ms / 1_000, [token.decode() for token in tokens]

    def _load(self, number: int, token: str) -> None:
        """Load marks and windows of a shard just taken; no other worker can change them now."""
        last_commit = complete(self._scripts, self._keys, number, token)
        loaded = self._loading.load(number)
        self.version += 1
        shard = self._held[number] = Shard(number, token, last_commit, loaded.symbols)
        self._quarantine.take_over(shard, loaded)
