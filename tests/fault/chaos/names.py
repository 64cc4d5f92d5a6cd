"""Keys and names as documented: the checker takes nothing from the project's code."""

import hashlib
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Final

GROUP: Final = "marketstate"
SOURCE: Final = "chaos:upstream"
"""The one stream that a bridge brings to the partitions."""
CACHE_PATTERN: Final = "candles:{symbol}:1m"

SHARDS: Final = 16
UNTOUCHED_SHARD: Final = 8
"""No symbol of the feeder belongs to it, so that it has finished nothing when a fault needs it."""


@dataclass(frozen=True)
class Names:
    """The keys of a group: of the only one, or of a partition."""

    partition: int | None = None
    partitions: int = 1
    suffix: str = ""
    """Of a longer interval, such as `.5m`."""

    def of_interval(self, name: str) -> "Names":
        """Its marks, windows and outputs; everything else is that of the group."""
        return replace(self, suffix=f".{name}" if name else "")

    @property
    def input(self) -> str:
        return self._tagged("quantum:stream:market.klines")

    @property
    def output(self) -> str:
        return self._tagged(f"quantum:stream:marketstate{self.suffix}")

    @property
    def dead(self) -> str:
        return self._tagged("quantum:stream:marketstate.dead")

    @property
    def notes(self) -> str:
        """What the harness itself keeps there."""
        return self._tagged("chaos:notes")

    @property
    def state_prefix(self) -> str:
        return f"quantum:marketstate{self.suffix}:{self._tag_of_prefix}"

    @property
    def record_prefix(self) -> str:
        return f"quantum:marketstate{self.suffix}-record:{self._tag_of_prefix}"

    @property
    def window_prefix(self) -> str:
        return self.internal(f"window{self.suffix}:")

    @property
    def counters(self) -> str:
        return self.internal("counters")

    @property
    def finished_ids(self) -> str:
        return self.internal("finished-ids")

    @property
    def commits(self) -> str:
        return self.internal("commits")

    @property
    def quarantine(self) -> str:
        return self.internal("quarantine")

    def internal(self, name: str) -> str:
        return f"{self._tagged(f'quantum:marketstate-worker:{GROUP}')}:{name}"

    def lease(self, shard: int) -> str:
        return self.internal(f"lease:{shard:02d}")

    def marks(self, shard: int) -> str:
        return self.internal(f"shard{self.suffix}:{shard:02d}")

    def shard_of(self, symbol: str) -> int:
        return _hash_of(symbol) // self.partitions % SHARDS

    def is_fed(self, symbol: str) -> bool:
        """Whether the symbol belongs to the partition, and to a shard that may be touched."""
        return self._is_ours(symbol) and self.shard_of(symbol) != UNTOUCHED_SHARD

    def untouched(self) -> list[str]:
        """Two symbols of the shard that may not be touched."""
        names = (f"UNTOUCHED{i:05d}" for i in count())
        return list(islice((name for name in names if self._is_untouched(name)), 2))

    def _is_ours(self, symbol: str) -> bool:
        return self.partition is None or _hash_of(symbol) % self.partitions == self.partition

    def _is_untouched(self, symbol: str) -> bool:
        return self._is_ours(symbol) and self.shard_of(symbol) == UNTOUCHED_SHARD

    @property
    def _tag_of_prefix(self) -> str:
        return "" if self.partition is None else f"{{p{self.partition:02d}}}:"

    def _tagged(self, name: str) -> str:
        return name if self.partition is None else f"{name}:{{p{self.partition:02d}}}"


def consumer_of(shard: int) -> str:
    return f"shard-{shard:02d}"


def _hash_of(symbol: str) -> int:
    return int(hashlib.sha1(symbol.encode()).hexdigest()[:8], 16)
