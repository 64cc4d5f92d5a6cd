"""The shards that this worker holds: their leases, and the memory of their symbols.

Memory only ever mirrors Redis: it is loaded when a shard is taken, updated with each commit, and
dropped as soon as the lease is in doubt or a commit that is already in memory was refused.

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
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from marketstate.schemas.candle import Candle
from marketstate.worker.engine.batch_size import BatchSize
from marketstate.worker.engine.broken_commits import complete
from marketstate.worker.engine.changes import Changes, Damaged, Memory, Reading
from marketstate.worker.engine.group import meta_gone, settings_differ, shared_settings, two_sources
from marketstate.worker.engine.key_health import printable
from marketstate.worker.engine.loading import Loaded, Loading
from marketstate.worker.engine.quarantine import Quarantine, Shard
from marketstate.worker.errors import LeaseLost, WorkerIdInUse
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.asking_client import AskingClient
from marketstate.worker.store.scripts import Scripts

KEEPS_PER_LEASE: Final = 3
EXPIRED_BY_S: Final = 0.02
# Candles that any worker can load in a third of the shortest lease, and the most it may try.
FIRST_LOAD: Final = 1_000_000
LARGEST_LOAD: Final = 10**9
TAKE_NONE: Final = -1


class Shards:
    def __init__(
        self, settings: Settings, client: AskingClient, scripts: Scripts, incarnation: str
    ) -> None:
        """`incarnation` is unique per process: it distinguishes two workers with the same id."""
        self._settings = settings
        self._keys = settings.keys
        self._scripts = scripts
        self._incarnation = incarnation
        self._shared_settings = shared_settings(settings)
        self._loading = Loading(settings, client, scripts)
        self._quarantine = Quarantine(settings, scripts, self._loading)
        self._leases: dict[int, str] = {}
        """Our tokens, also of shards that are still being loaded."""
        self._held: dict[int, Shard] = {}
        self._starts_over_after_ms = settings.starts_over_after_ms
        self._longest_load_s = settings.lease_seconds / KEEPS_PER_LEASE
        self._load_size = BatchSize(LARGEST_LOAD, self._longest_load_s, FIRST_LOAD)
        self._symbols_of_group = 0
        self._count_symbols = True
        """At the next `keep`: it costs Redis a command for each shard, so not while we are idle."""
        self._next_keep_s = 0.0
        self._notice_id = b"0-0"
        self._told: frozenset[int] = frozenset()
        self.version = 0
        """Changes whenever a shard is taken or lost."""

    def __iter__(self) -> Iterator[int]:
        return iter(self._held)

    def __contains__(self, shard: int) -> bool:
        return shard in self._held

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

    def unfamiliar(
        self, readings: Iterable[Reading], unconfirmed: Container[str] = ()
    ) -> list[Reading]:
        """Those with a candle of a symbol of which nothing is remembered, or not all there was, or
        with which its window may start over, or whose cache it may confirm.
        """
        return [
            reading
            for reading in readings
            if isinstance(reading.found, Candle)
            and (
                (known := self._held[reading.entry.shard].symbols.get(reading.found.symbol)) is None
                or known.left is not None
                or reading.found.symbol in unconfirmed
                or reading.found.close_time - known.window.last_close_time_ms
                >= self._starts_over_after_ms
            )
        ]

    def look_up(self, unfamiliar: Iterable[Reading], unconfirmed: Container[str] = ()) -> None:
        """Of these symbols, load what Redis has without a mark, or since it was repaired; of those
        whose cache is to be confirmed, their window with its times.
        """
        symbols: dict[int, dict[str, None]] = {}
        for entry, _, found in unfamiliar:
            if isinstance(found, Candle):
                symbols.setdefault(entry.shard, {})[found.symbol] = None
        for number, names in symbols.items():
            shard = self._held[number]
            self._quarantine.look_again(shard, [name for name in names if name in shard.aside])
            new = [
                name.encode()
                for name in names
                if name not in shard.aside and (name not in shard.symbols or name in unconfirmed)
            ]
            if new:
                loaded = self._loading.load(number, new)
                shard.symbols |= loaded.symbols
                self._quarantine.set_aside(shard, loaded.damaged)

    def set_aside(self, changes: Changes, reasons: Mapping[str, str]) -> None:
        """Symbols that `changes` could not be committed for."""
        for symbol, reason in reasons.items():
            shard = self._held[changes.symbols[symbol].shard]
            self._quarantine.set_aside(shard, {symbol: Damaged(symbol.encode(), reason)})

    def set_aside_for_our_mistake(self, number: int, symbol: str, reason: str) -> None:
        """A symbol for which the calculation fails, until another worker takes its shard."""
        damaged = Damaged(symbol.encode(), reason, is_ours=True)
        self._quarantine.set_aside(self._held[number], {symbol: damaged})

    @property
    def room_for_symbols(self) -> int:
        """How many new symbols the group may have. Other workers may have accepted some since they
        were last counted, so the limit is not exact.
        """
        return self._settings.most_symbols - self._symbols_of_group

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
        """Renew, release and take leases, about three times per lease time.

        No more shards are taken than can be loaded before the leases must be renewed again. The
        others are taken after the next batch.
        """
        if self.seconds_to_keep > 0:
            return
        more_are_free = self._renew(self._load_size.most)
        taken = [shard for shard in self._leases if shard not in self._held]
        for shard in taken:
            try:
                self._load(shard)
            except LeaseLost as lost:
                log.warning("%s, before it was loaded", lost)
        for held in self._held.values():
            self._quarantine.look_at_some(held)
        if more_are_free:
            self._next_keep_s = 0.0
        else:
            self._tell()

    def _tell(self) -> None:
        """A rebalance is one line, however many shards come and go."""
        held, before = frozenset(self._held), self._told
        if held == before:
            return
        self._told = held
        gone = f"; {len(before - held)} were released or lost" if before - held else ""
        log.info("holding %d of %d shards%s", len(held), self._settings.shards, gone)

    def notice(self, notice_id: bytes) -> None:
        """Take the id of the last notice; a new one means that there may be shards to take."""
        if notice_id != self._notice_id:
            self._notice_id = notice_id
            self._next_keep_s = 0.0

    def drop(self, shards: Iterable[int]) -> None:
        """Forget shards whose lease is lost, and check immediately what there is to take."""
        for shard in shards:
            self._leases.pop(shard, None)
            self._held.pop(shard, None)
            self.version += 1
        self._next_keep_s = 0.0

    def move(self, changes: Changes, commit_id: str, committed_ms: int = 0) -> None:
        """Apply to memory what a commit writes to Redis, at `committed_ms` by Redis's clock; 0 if
        the time is not known and not needed.
        """
        now_s = time.monotonic()
        self._count_symbols = True
        for symbol, change in changes.symbols.items():
            symbols = self._held[change.shard].symbols
            change.before.extend(change.close_times_ms, change.closes)
            mark = change.mark
            if mark.close_time_ms and not mark.published_ms:
                mark = mark._replace(published_ms=committed_ms)
            if symbol not in symbols:
                self._symbols_of_group += 1
            symbols[symbol] = Memory(change.before, mark, seen_s=now_s)
        for shard, symbol in changes.passed_over:
            self._held[shard].symbols[symbol].seen_s = now_s
        for shard, names in changes.retired.items():
            for symbol in names:
                del self._held[shard].symbols[symbol]
            self._symbols_of_group -= len(names)
        for shard in changes.finished:
            self._held[shard].last_commit = commit_id

    def release(self) -> None:
        """Release everything, so that others can take it without waiting for an expiry."""
        self._scripts.release(
            keys=[self._keys.members, self._keys.notices, *map(self._keys.lease, self._leases)],
            args=[self._settings.worker_id, self._incarnation, *self._leases.values()],
        )
        self._leases, self._held = {}, {}

    def _renew(self, can_load: int) -> bool:
        """Renew the leases, and take new ones for shards that hold at most `can_load` candles; with
        TAKE_NONE only renew. Returns whether more are free.
        """
        soonest_s, more_are_free, tokens = self._ask_to_keep(can_load)
        for shard in [shard for shard in self._held if tokens.get(shard) != self.token(shard)]:
            del self._held[shard]
            self.version += 1
        self._leases = tokens
        # Look again when a lease is about to expire: its holder may have died (G6).
        pause_s = min(self._settings.lease_seconds / KEEPS_PER_LEASE, soonest_s + EXPIRED_BY_S)
        self._next_keep_s = time.monotonic() + pause_s
        return more_are_free

    def _ask_to_keep(self, can_load: int) -> tuple[float, bool, dict[int, str]]:
        """Seconds until another worker may be dead; whether more shards are free; our tokens."""
        every = range(self._settings.shards)
        # Others may have retired symbols while we were idle.
        counts = self._count_symbols or self.room_for_symbols <= 0
        of_shards = ((self._keys.lease(shard), self._keys.marks(shard)) for shard in every)
        reply = self._scripts.keep(
            keys=[
                self._keys.members,
                self._keys.epoch,
                self._keys.meta,
                self._keys.notices,
                self._keys.members_of_other_source,
                self._keys.meta_of_other_source,
                *chain.from_iterable(of_shards),
            ],
            args=[
                self._settings.worker_id,
                self._incarnation,
                self._settings.lease_ms,
                self._shared_settings,
                can_load,
                self._settings.window_size,
                self._settings.partition or 0,
                int(counts),
                *(self._leases.get(shard, "") for shard in every),
            ],
        )
        match reply:
            case [b"in use", silent_ms]:
                raise WorkerIdInUse(
                    f"another worker with the id {self._settings.worker_id!r} was seen "
                    f"{silent_ms / 1_000:.1f} s ago; give each worker its own MARKETSTATE_WORKER_ID"
                )
            case [b"other source", other]:
                raise two_sources(self._settings, printable(other))
            case [b"settings changed", b""]:
                raise meta_gone(self._keys)
            case [b"settings changed", found]:
                raise settings_differ(
                    self._settings, found.decode(errors="replace"), "restart this one"
                )
        _, soonest_ms, more, symbols, tokens = reply
        if counts:
            self._symbols_of_group, self._count_symbols = symbols, False
        ours = {shard: token.decode() for shard, token in enumerate(tokens) if token}
        return soonest_ms / 1_000, bool(more), ours

    def _load(self, number: int) -> None:
        """Load marks and windows of a shard just taken; no other worker can change them now. The
        leases are renewed in between, so that they outlast the loading.
        """
        began_s = time.monotonic()
        token = self._leases.get(number)
        if token is None:
            raise LeaseLost([number])
        last_commit = complete(self._scripts, self._keys, number, token)
        loaded = Loaded()
        for some in self._loading.some_at_a_time(number):
            loaded.add(some)
            if self.seconds_to_keep == 0:
                self._renew(TAKE_NONE)
            if number not in self._leases:
                raise LeaseLost([number])
        self.version += 1
        shard = self._held[number] = Shard(number, token, last_commit, loaded.symbols)
        self._quarantine.take_over(shard, loaded)
        took_s = time.monotonic() - began_s
        # What takes less says little about how long more would take.
        if took_s > self._longest_load_s / 10:
            self._load_size.took(took_s, len(loaded.symbols) * self._settings.window_size)
