"""Every Redis key and consumer name. Only `settings` names others, those of a replay."""

from collections.abc import Iterable
from dataclasses import dataclass

from marketstate.schemas.market_state import record_key
from marketstate.schemas.partitions import hash_of, partition_key

INTAKE = "intake"
GATHERER = "gatherer"


def shard_name(shard: int) -> str:
    """The consumer that represents a shard in the group, such as `shard-07`."""
    return f"shard-{shard:02d}"


def shard_of(symbol: str, shards: int, partitions: int = 1) -> int:
    """The shard of a symbol, which never changes; `worker/lua/symbol.lua` calculates the same.

    The remainder of the hash picks the partition. So the quotient picks the shard: with the same
    remainder twice, most shards of a partition would stay empty.
    """
    return hash_of(symbol) // partitions % shards


def internal_prefix_of(group: str) -> str:
    """The prefix of the internal keys of a group's workers."""
    return f"quantum:marketstate-worker:{group}"


@dataclass(frozen=True)
class Keys:
    """The keys of one group; those with `internal_prefix` are internal to the workers."""

    input: str
    group: str
    output_prefix: str
    output_stream: str
    dead_stream: str
    internal_prefix: str
    other_source_prefix: str
    """The internal prefix that the group has with the other `MARKETSTATE_SOURCE`."""
    partition: int | None = None
    suffix: str = ""
    """Of a longer interval, such as `.5m`: it has its own marks, windows and outputs."""

    @property
    def meta(self) -> str:
        return f"{self.internal_prefix}:meta"

    def meta_of(self, group: str) -> str:
        """The meta key of another group, of the same partition."""
        return f"{partition_key(internal_prefix_of(group), self.partition)}:meta"

    @property
    def absent(self) -> str | None:
        """A key that never exists, for `worker/store/scripts.py`; None without partitions."""
        return None if self.partition is None else f"{self.internal_prefix}:absent"

    @property
    def members(self) -> str:
        return f"{self.internal_prefix}:members"

    @property
    def meta_of_other_source(self) -> str:
        return f"{self.other_source_prefix}:meta"

    @property
    def members_of_other_source(self) -> str:
        return f"{self.other_source_prefix}:members"

    @property
    def epoch(self) -> str:
        return f"{self.internal_prefix}:epoch"

    @property
    def notices(self) -> str:
        """Stream of one entry, whose id changes whenever a worker releases shards."""
        return f"{self.internal_prefix}:notices"

    @property
    def handed_over(self) -> str:
        """Stream of one entry: its id changes whenever entries are handed to another's shards."""
        return f"{self.internal_prefix}:handed-over"

    @property
    def unfinished(self) -> str:
        """Hash: consumer of a shard -> number of entries routed to it and not finished."""
        return f"{self.internal_prefix}:unfinished"

    @property
    def finished_ids(self) -> str:
        """Hash: consumer of a shard -> id of the last entry that it finished."""
        return f"{self.internal_prefix}:finished-ids"

    @property
    def commits(self) -> str:
        """Hash: consumer of a shard -> id of its last commit, or the rest of it if it broke off."""
        return f"{self.internal_prefix}:commits"

    @property
    def counters(self) -> str:
        return f"{self.internal_prefix}:counters"

    @property
    def quarantine(self) -> str:
        """Hash: symbol that is set aside -> what was found of it, and how to repair it."""
        return f"{self.internal_prefix}:quarantine"

    @property
    def fed(self) -> str:
        """How far a replay has fed the input stream."""
        return f"{self.internal_prefix}:fed"

    def lease(self, shard: int) -> str:
        return f"{self.internal_prefix}:lease:{shard:02d}"

    def marks(self, shard: int) -> str:
        """Hash of a shard: symbol -> last emitted close time in ms, 0 before the first."""
        return f"{self.internal_prefix}:shard{self.suffix}:{shard:02d}"

    def window(self, symbol: str) -> str:
        return f"{self.internal_prefix}:window{self.suffix}:{symbol}"

    def state(self, symbol: str) -> str:
        """The published hash of a symbol."""
        return f"{self.output_prefix}{symbol}"

    def record(self, symbol: str) -> str:
        """String: the published record of a symbol, which expires with its hash."""
        return record_key(self.output_prefix, symbol)

    def every(self, shards: int, symbols: Iterable[str]) -> list[str]:
        """All keys above, for a group with `shards` shards and these symbols; those of longer
        intervals are in `of_interval`.
        """
        of_group = [self.input, self.dead_stream, self.meta, self.members]
        of_group += [self.epoch, self.notices, self.handed_over, self.unfinished]
        of_group += [self.finished_ids, self.commits, self.counters, self.quarantine, self.fed]
        leases = map(self.lease, range(shards))
        return [*of_group, *leases, *self.of_interval(shards, symbols)]

    def of_interval(self, shards: int, symbols: Iterable[str]) -> list[str]:
        """The keys that each interval has of its own."""
        of_symbols = (
            (self.window(symbol), self.state(symbol), self.record(symbol)) for symbol in symbols
        )
        return [
            self.output_stream,
            *map(self.marks, range(shards)),
            *(key for some in of_symbols for key in some),
        ]


@dataclass(frozen=True)
class GatherKeys:
    """The keys of one `marketstate gather`, which reads every stream through this group."""

    group: str

    @property
    def _prefix(self) -> str:
        return f"quantum:marketstate-gather:{self.group}"

    @property
    def owner(self) -> str:
        """Which process gathers: the last one that was started."""
        return f"{self._prefix}:owner"

    @property
    def counters(self) -> str:
        return f"{self._prefix}:counters"

    @property
    def exchanges(self) -> str:
        """Hash: symbol -> the exchange of which its candles are gathered."""
        return f"{self._prefix}:exchanges"


@dataclass(frozen=True)
class BridgeKeys(GatherKeys):
    """The keys of one `marketstate gather --partitions`. In a Redis Cluster, they are on the node
    that has their source, or the partition.
    """

    source: str

    @property
    def _prefix(self) -> str:
        # Where Redis puts the source depends on its tag, or on its whole name.
        within, closed, _ = self.source.partition("{")[2].partition("}")
        tag = within if within and closed else self.source
        return f"{super()._prefix}:{{{tag}}}"

    @property
    def begun(self) -> str:
        """Hash: `<group>:<number of partitions>:<source>` -> the last entry of the source that had
        been acknowledged when the first bridge for these workers began.
        """
        return f"{self._prefix}:begun"

    def positions(self, partition: int) -> str:
        """Hash: as in `begun` -> the last entry of the source that was brought to the partition."""
        return f"{partition_key(super()._prefix, partition)}:positions"
