"""Groups with longer intervals: what they leave in Redis, and what is expected there."""

from collections import defaultdict
from typing import Any, Final

import redis

from tests.support.worker_process import INTERNAL_PREFIX, OUTPUT

LONGER: Final = ("3m", "5m", "15m", "30m", "1h")
INTERVALS: Final = ",".join(["1m", *LONGER])
SUFFIXES: Final = ("", *(f".{name}" for name in LONGER))


def published_by_interval(client: redis.Redis) -> dict[str, dict[str, list[bytes]]]:
    """The records in the output stream of each interval, by symbol and in order."""
    return {suffix: _published(client, suffix) for suffix in SUFFIXES}


def _published(client: redis.Redis, suffix: str) -> dict[str, list[bytes]]:
    by_symbol: dict[str, list[bytes]] = defaultdict(list)
    entries: Any = client.xrange(f"{OUTPUT}{suffix}")
    for _, fields in entries:
        by_symbol[fields[b"symbol"].decode()].append(fields[b"record"])
    return dict(by_symbol)


def kept_by_interval(client: redis.Redis) -> dict[str, Any]:
    """Windows, marks, hashes and records of each interval, by key."""
    found: dict[str, Any] = {}
    for suffix in SUFFIXES:
        prefixes = (
            f"{INTERNAL_PREFIX}:window{suffix}:",
            f"{INTERNAL_PREFIX}:shard{suffix}:",
            f"quantum:marketstate{suffix}:",
            f"quantum:marketstate{suffix}-record:",
        )
        for prefix in prefixes:
            keys: Any = client.keys(f"{prefix}*")
            found |= {key.decode(): _value(client, key) for key in keys}
    return found


def _value(client: redis.Redis, key: bytes) -> Any:
    match client.type(key):
        case b"list":
            return client.lrange(key.decode(), 0, -1)
        case b"hash":
            return client.hgetall(key.decode())
        case _:
            return client.get(key)
