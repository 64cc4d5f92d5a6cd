"""The namespace of a replay: it has its own keys, so it cannot touch anything live.

The keys follow from its name (worker/settings.py, `replay_names`). This file checks whether a name
is free, and removes the keys of a replay.
"""

from typing import Any

from worker.errors import ConfigurationError, RedisUnusable
from worker.settings import Settings
from worker.store.clock import clock_ms
from worker.store.connection import Client

UNLINKED_AT_ONCE = 1_000


def refuse_foreign(client: Client, settings: Settings) -> None:
    """A live group might have the same name; its meta key says which stream it reads."""
    found: Any = client.hget(settings.keys.meta, "input_stream")
    if found is not None and found.decode() != settings.keys.input:
        raise ConfigurationError(
            f"{settings.keys.meta} belongs to a group that reads {found.decode()}; choose another "
            "--namespace"
        )


def refuse_used(client: Client, settings: Settings) -> None:
    """An empty stream is fine: workers may have started before it is fed."""
    if not client.exists(settings.keys.input):
        return
    info: Any = client.xinfo_stream(settings.keys.input)
    if info["last-generated-id"] != b"0-0":
        raise ConfigurationError(
            f"the namespace {settings.replay_namespace!r} contains an earlier replay; continue it "
            "with --resume, or remove it with --clean and no FILE"
        )


def remove(client: Client, settings: Settings) -> int:
    """Delete every key of the replay and return how many. Raises if a worker still runs."""
    refuse_foreign(client, settings)
    keys = settings.keys
    if working := _working(client, settings):
        raise RedisUnusable(
            f"workers {', '.join(working)} still run for the replay {settings.replay_namespace!r}; "
            "stop them, or wait one lease time if they were killed, and clean again"
        )
    found: Any = client.hget(keys.meta, "shards")
    shards = settings.shards if found is None else int(found)
    # Every symbol that has a window or a state has a mark.
    with client.pipeline(transaction=False) as reads:
        for shard in range(shards):
            reads.hkeys(keys.marks(shard))
        symbols = [symbol.decode() for of_shard in reads.execute() for symbol in of_shard]
    every = keys.every(shards, symbols)
    removed: Any = sum(
        client.unlink(*every[i : i + UNLINKED_AT_ONCE])
        for i in range(0, len(every), UNLINKED_AT_ONCE)
    )
    return int(removed)


def _working(client: Client, settings: Settings) -> list[str]:
    members: Any = client.hgetall(settings.keys.members)
    time: Any = client.time()
    now_ms = clock_ms(time)
    living = []
    for worker_id, entry in members.items():
        seen_ms, lease_ms, _ = entry.split(b":", 2)
        if now_ms - int(seen_ms) <= int(lease_ms):
            living.append(worker_id.decode())
    return sorted(living)
