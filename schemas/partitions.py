"""Which partition a symbol belongs to, and the keys of a partition: for publishers and readers.

    stream = stream_of("BTCUSDT", partitions=16)    # quantum:stream:market.klines:{p10}
    client.xadd(stream, fields)

The number of partitions is that of the workers, `MARKETSTATE_PARTITIONS`. In a Redis Cluster, all
keys with the same text in braces are on one node.
"""

import hashlib
from functools import lru_cache
from typing import Final

INPUT_STREAM: Final = "quantum:stream:market.klines"
# More symbols than any market has. They come from outside, so the cache must be bounded.
_CACHED_SYMBOLS: Final = 65_536


@lru_cache(maxsize=_CACHED_SYMBOLS)
def hash_of(symbol: str) -> int:
    """The first 8 hexadecimal digits of the SHA-1 of its UTF-8 bytes; it never changes."""
    return int(hashlib.sha1(symbol.encode(), usedforsecurity=False).hexdigest()[:8], 16)


def partition_of(symbol: str, partitions: int) -> int:
    return hash_of(symbol) % partitions


def tag(partition: int) -> str:
    """`{p07}`: what every key of a partition contains."""
    return f"{{p{partition:02d}}}"


def partition_key(name: str, partition: int | None) -> str:
    """`<name>:{p07}`; without partitions, the name itself."""
    return name if partition is None else f"{name}:{tag(partition)}"


def partition_keys(name: str, partitions: int | None) -> list[str]:
    """Those of all partitions; without partitions, the name alone."""
    every = [None] if partitions is None else range(partitions)
    return [partition_key(name, each) for each in every]


def partition_prefix(prefix: str, partition: int | None) -> str:
    """`quantum:marketstate:{p07}:`, for a prefix that ends in a colon."""
    return prefix if partition is None else f"{prefix}{tag(partition)}:"


def stream_of(symbol: str, partitions: int | None, stream: str = INPUT_STREAM) -> str:
    """The stream that takes the candles of a symbol; without partitions, there is only one."""
    return partition_key(stream, None if partitions is None else partition_of(symbol, partitions))
