"""Every Redis key and consumer name: nothing else in the project builds one."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

INTAKE = "intake"
# More symbols than any market has; what comes in could name any number.
CACHED_SYMBOLS = 65_536


def shard_name(shard: int) -> str:
    """The consumer that stands for a shard in the group: `shard-07`."""
    return f"shard-{shard:02d}"


@lru_cache(maxsize=CACHED_SYMBOLS)
def shard_of(symbol: str, shards: int) -> int:
    """The shard of a symbol, for good; `worker/lua/symbol.lua` calculates the same."""
    return int(hashlib.sha1(symbol.encode(), usedforsecurity=False).hexdigest()[:8], 16) % shards


def internal_prefix_of(group: str) -> str:
    """What the keys start with that the workers of a group keep for themselves."""
    return f"quantum:marketstate-worker:{group}"


@dataclass(frozen=True)
class Keys:
    """The keys of one group; those that start with `internal_prefix` are the workers' own."""

    input: str
    group: str
    output_prefix: str
    output_stream: str
    dead_stream: str
    internal_prefix: str

    @property
    def meta(self) -> str:
        return f"{self.internal_prefix}:meta"

    def meta_of(self, group: str) -> str:
        """That of another group."""
        return f"{internal_prefix_of(group)}:meta"

    @property
    def members(self) -> str:
        return f"{self.internal_prefix}:members"

    @property
    def epoch(self) -> str:
        return f"{self.internal_prefix}:epoch"

    @property
    def notices(self) -> str:
        """Stream of one entry: its id changes whenever a worker gives shards back."""
        return f"{self.internal_prefix}:notices"

    @property
    def unfinished(self) -> str:
        """Hash: consumer of a shard -> entries handed to it and not finished."""
        return f"{self.internal_prefix}:unfinished"

    @property
    def finished_ids(self) -> str:
        """Hash: consumer of a shard -> id of the last entry it finished."""
        return f"{self.internal_prefix}:finished-ids"

    @property
    def counters(self) -> str:
        return f"{self.internal_prefix}:counters"

    @property
    def fed(self) -> str:
        """How far a replay has fed the input stream."""
        return f"{self.internal_prefix}:fed"

    def lease(self, shard: int) -> str:
        return f"{self.internal_prefix}:lease:{shard:02d}"

    def marks(self, shard: int) -> str:
        """Hash of a shard: symbol -> last emitted close time in ms, 0 before the first."""
        return f"{self.internal_prefix}:shard:{shard:02d}"

    def window(self, symbol: str) -> str:
        return f"{self.internal_prefix}:window:{symbol}"

    def state(self, symbol: str) -> str:
        """The published hash of a symbol."""
        return f"{self.output_prefix}{symbol}"

    def every(self, shards: int, symbols: Iterable[str]) -> list[str]:
        """All keys above, for a group with so many shards that knows these symbols."""
        of_group = [self.input, self.output_stream, self.dead_stream, self.meta, self.members]
        of_group += [self.epoch, self.notices, self.unfinished, self.finished_ids]
        of_group += [self.counters, self.fed]
        of_shards = [(self.lease(shard), self.marks(shard)) for shard in range(shards)]
        of_symbols = [(self.window(symbol), self.state(symbol)) for symbol in symbols]
        return [*of_group, *(key for pair in of_shards + of_symbols for key in pair)]
