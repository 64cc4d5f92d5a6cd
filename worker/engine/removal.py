"""What a group keeps in Redis, found by its own bookkeeping, and removed some keys at a time.

No SCAN: a pattern could match the keys of another group, whose name begins like ours.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from marketstate.worker.settings import Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client

KEYS_AT_ONCE: Final = 1_000


def shards_of(client: Client, settings: Settings) -> int:
    """As many as the group was created with; without a group, those of the settings."""
    found: Any = client.hget(settings.keys.meta, "shards")
    return settings.shards if found is None else int(found)


def symbols_of(client: Client, settings: Settings) -> list[str]:
    """Every symbol that has a window or a state: it has a mark."""
    with client.pipeline(transaction=False) as reads:
        for shard in range(shards_of(client, settings)):
            reads.hkeys(settings.keys.marks(shard))
        return [symbol.decode() for of_shard in reads.execute() for symbol in of_shard]


def existing(client: Client, keys: Sequence[str]) -> int:
    """How many of the keys there are."""
    return sum(client.exists(*some) for some in _in_parts(keys))


def unlink(client: Client, keys: Sequence[str]) -> int:
    """How many of the keys there were."""
    return sum(int(client.unlink(*some)) for some in _in_parts(keys))


def living(client: Client, members: str) -> list[str]:
    """The ids of the workers that are live, by the hash `members` and Redis's clock."""
    found: Any = client.hgetall(members)
    time: Any = client.time()
    now_ms = clock_ms(time)
    ids = []
    for worker_id, entry in found.items():
        seen_ms, lease_ms, _ = entry.split(b":", 2)
        if now_ms - int(seen_ms) <= int(lease_ms):
            ids.append(worker_id.decode())
    return sorted(ids)


def _in_parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[i : i + KEYS_AT_ONCE] for i in range(0, len(keys), KEYS_AT_ONCE))
