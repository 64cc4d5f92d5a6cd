"""Keys and names as documented: the checker takes nothing from the project's code."""

import hashlib
from typing import Final

GROUP: Final = "marketstate"
INPUT: Final = "quantum:stream:market.klines"
OUTPUT: Final = "quantum:stream:marketstate"
DEAD: Final = "quantum:stream:marketstate.dead"
STATE_PREFIX: Final = "quantum:marketstate:"
RECORD_PREFIX: Final = "quantum:marketstate-record:"
INTERNAL_PREFIX: Final = f"quantum:marketstate-worker:{GROUP}"
WINDOW_PREFIX: Final = f"{INTERNAL_PREFIX}:window:"
COUNTERS_KEY: Final = f"{INTERNAL_PREFIX}:counters"
META_KEY: Final = f"{INTERNAL_PREFIX}:meta"
EPOCH_KEY: Final = f"{INTERNAL_PREFIX}:epoch"
MEMBERS_KEY: Final = f"{INTERNAL_PREFIX}:members"
UNFINISHED_KEY: Final = f"{INTERNAL_PREFIX}:unfinished"
FINISHED_IDS_KEY: Final = f"{INTERNAL_PREFIX}:finished-ids"
COMMITS_KEY: Final = f"{INTERNAL_PREFIX}:commits"
QUARANTINE_KEY: Final = f"{INTERNAL_PREFIX}:quarantine"
CACHE_PATTERN: Final = "candles:{symbol}:1m"

SHARDS: Final = 16
UNTOUCHED_SHARD: Final = 8
"""No symbol of the feeder belongs to it, so that it has finished nothing when a fault needs it."""


def shard_of(symbol: str) -> int:
    return int(hashlib.sha1(symbol.encode()).hexdigest()[:8], 16) % SHARDS


def consumer_of(shard: int) -> str:
    return f"shard-{shard:02d}"


def lease_of(shard: int) -> str:
    return f"{INTERNAL_PREFIX}:lease:{shard:02d}"


def marks_of(shard: int) -> str:
    return f"{INTERNAL_PREFIX}:shard:{shard:02d}"
