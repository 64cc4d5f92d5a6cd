"""The shards that this worker holds: their leases, and the memory of their symbols.

Memory only ever mirrors Redis. That of a symbol is loaded when its next candle comes, or before if
there is time. It is updated with each commit, and dropped as soon as the lease is in doubt or a
commit that is already in memory was refused.

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
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from marketstate.schemas.candle import Candle
from marketstate.worker.engine.broken_commits import complete
from marketstate.worker.engine.changes import Changes, Damaged, Memory, Reading
from marketstate.worker.engine.group import meta_gone, settings_differ, shared_settings, two_sources
from marketstate.worker.engine.key_health import printable
from marketstate.worker.engine.loading import Loading
from marketstate.worker.engine.quarantine import Quarantine, Shard
from marketstate.worker.errors import LeaseLost, WorkerIdInUse
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.asking_client import AskingClient
from marketstate.worker.store.scripts import Scripts

KEEPS_PER_LEASE: Final = 3
EXPIRED_BY_S: Final = 0.02


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
        """Our tokens, also of shards that are just being taken."""
        self._held: dict[int, Shard] = {}
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

    def last_commit(self, shard: int) -> bytes:
        """The id of the last one that we know of."""
        return self._held[shard].last_commit

    def memory(self, shard: int, symbol: str) -> Memory | Damaged | None:
        held = self._held[shard]
        return held.symbols.get(symbol) or held.aside.get(symbol)

    def look_up(self, readings: Iterable[Reading], unconfirmed: Container[str]) -> None:
        """Of the symbols of these candles, load what Redis has, unless we remember it; also since
        they were repaired; of those whose cache is to be confirmed, their window with its times.
        """
        symbols: dict[int, dict[str, None]] = {}
        for entry, _, found in readings:
            if isinstance(found, Candle) and (
                found.symbol not in self._held[entry.shard].symbols or found.symbol in unconfirmed
            ):
                symbols.setdefault(entry.shard, {})[found.symbol] = None
        new = {}
        for number, names in symbols.items():
            shard = self._held[number]
            self._quarantine.look_again(shard, [name for name in names if name in shard.aside])
            new[number] = [
                name.encode()
                for name in names
                if name not in shard.aside and (name not in shard.symbols or name in unconfirmed)
            ]
        self._load(new)

    def load_some(self) -> bool:
        """Load some of the symbols that had no candle yet; False if there are none left. To be
        called when there is time: nobody is waiting for them.
        """
        for number, shard in self._held.items():
            while shard.to_load:
                some = shard.to_load[-self._loading.at_once :]
                del shard.to_load[-len(some) :]
                new = [one for one in some if one not in shard.symbols and one not in shard.aside]
                if new:
                    self._load({number: [symbol.encode() for symbol in new]})
                    return True
        return False

    def _load(self, wanted: Mapping[int, Sequence[bytes]]) -> None:
        for number, loaded in self._loading.load(wanted):
            shard = self._held[number]
            shard.symbols |= loaded.symbols
            self._quarantine.set_aside(shard, loaded.damaged)

    def set_aside(self, changes: Changes, reasons: Mapping[str, str]) -> None:
        """Symbols that `changes` could not be committed for."""
        for symbol, reason in reasons.items():
            shard = self._held[changes.shard_of(symbol)]
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
    def symbols_held(self) -> int:
        """How many symbols the held shards have, also those that are still to be loaded."""
        return sum(
            len((shard.symbols.keys() | shard.to_load) - shard.aside.keys())
            for shard in self._held.values()
        )

    @property
    def seconds_to_keep(self) -> float:
        """Seconds until the leases need attention."""
        return max(0.0, self._next_keep_s - time.monotonic())

    def keep(self) -> None:
        """Renew, release and take leases, about three times per lease time."""
        if self.seconds_to_keep > 0:
            return
        self._renew()
        taken = [shard for shard in self._leases if shard not in self._held]
        for shard in taken:
            try:
                self._take(shard)
            except LeaseLost as lost:
                log.warning("%s, before it was taken", lost)
        for held in self._held.values():
            self._quarantine.look_at_some(held)
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

    def forget(self) -> None:
        """Drop the memory of all shards. Their leases can still be released."""
        self._held = {}
        self.version += 1

    def move(self, changes: Changes, commit_id: str, committed_ms: int = 0) -> None:
        """Apply to memory what a commit writes to Redis, at `committed_ms` by Redis's clock; 0 if
        the time is not known and not needed.
        """
        now_s = time.monotonic()
        self._count_symbols = True
        for shard, symbol, known in changes.memories(committed_ms):
            symbols = self._held[shard].symbols
            if symbol not in symbols:
                self._symbols_of_group += 1
            symbols[symbol] = known
        for shard, symbol in changes.passed_over:
            self._held[shard].symbols[symbol].seen_s = now_s
        for shard, names in changes.retired.items():
            for symbol in names:
                del self._held[shard].symbols[symbol]
            self._symbols_of_group -= len(names)
        for shard in changes.finished:
            self._held[shard].last_commit = commit_id.encode()

    def release(self) -> None:
        """Release everything, so that others can take it without waiting for an expiry."""
        self._scripts.release(
            keys=[self._keys.members, self._keys.notices, *map(self._keys.lease, self._leases)],
            args=[self._settings.worker_id, self._incarnation, *self._leases.values()],
        )
        self._leases, self._held = {}, {}

    def _renew(self) -> None:
        soonest_s, tokens = self._ask_to_keep()
        for shard in [shard for shard in self._held if tokens.get(shard) != self.token(shard)]:
            del self._held[shard]
            self.version += 1
        self._leases = tokens
        # Look again when a lease is about to expire: its holder may have died (G6).
        pause_s = min(self._settings.lease_seconds / KEEPS_PER_LEASE, soonest_s + EXPIRED_BY_S)
        self._next_keep_s = time.monotonic() + pause_s

    def _ask_to_keep(self) -> tuple[float, dict[int, str]]:
        """Seconds until another worker may be dead; our tokens."""
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
                remedy = "give all its workers the same settings, or restart this one"
                raise settings_differ(self._settings, found.decode(errors="replace"), remedy)
        _, soonest_ms, symbols, tokens = reply
        if counts:
            self._symbols_of_group, self._count_symbols = symbols, False
        ours = {shard: token.decode() for shard, token in enumerate(tokens) if token}
        return soonest_ms / 1_000, ours

    def _take(self, number: int) -> None:
        """A shard that was just leased: no other worker can change anything of it now."""
        token = self._leases[number]
        last_commit = complete(self._scripts, self._keys, number, token)
        listed = self._loading.listed(number)
        self.version += 1
        shard = Shard(number, token, last_commit, to_load=listed.symbols)
        self._held[number] = shard
        self._quarantine.take_over(shard, listed)
