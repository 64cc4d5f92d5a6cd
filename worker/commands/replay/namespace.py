"""The namespace of a replay: it has its own keys, so it cannot touch anything live.

The keys follow from its name (worker/settings.py, `replay_names`). This file checks whether a name
is free, and removes the keys of a replay.
"""

from typing import Any

from marketstate.worker.engine import other_partitions
from marketstate.worker.engine.all_partitions import opened
from marketstate.worker.engine.group import refuse_another_number
from marketstate.worker.engine.key_health import naming_wrong_types, printable
from marketstate.worker.engine.removal import intervals_of, living, shards_of, symbols_of, unlink
from marketstate.worker.errors import ConfigurationError, RedisUnusable
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client


def refuse_foreign(client: Client, settings: Settings) -> None:
    """A live group might have the same name; its meta key says which stream it reads. A replay with
    another number of partitions would be fed, or removed, in part.
    """
    with naming_wrong_types(client, settings):
        found: Any = client.hget(settings.keys.meta, "input_stream")
    if found is not None and found != settings.keys.input.encode():
        raise ConfigurationError(
            f"{settings.keys.meta} belongs to a group that reads {printable(found)}; choose "
            "another --namespace"
        )
    refuse_another_number(client, settings)


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


def remove(settings: Settings) -> int:
    """Delete every key of the replay and return how many. Raises if a worker still runs."""
    with opened(settings) as parts:
        for client, part in parts:
            with naming_wrong_types(client, part):
                refuse_foreign(client, part)
                _refuse_living(client, part)
        removed = 0
        for client, part in parts:
            with naming_wrong_types(client, part):
                removed += _remove(client, part)
        return removed


def instead(settings: Settings) -> str:
    """What to set if the replay is there with partitions, or without; otherwise empty."""
    with opened(settings) as parts:
        return other_partitions.instead(*parts[0])


def _refuse_living(client: Client, settings: Settings) -> None:
    if working := living(client, settings.keys.members):
        raise RedisUnusable(
            f"workers {', '.join(working)} still run for the replay {settings.replay_namespace!r}; "
            "stop them, or wait one lease time if they were killed, and clean again"
        )


def _remove(client: Client, settings: Settings) -> int:
    shards, symbols = shards_of(client, settings), symbols_of(client, settings)
    keys = settings.keys.every(shards, symbols)
    for each in intervals_of(client, settings):
        keys += each.keys.of_interval(shards, symbols)
    return unlink(client, list(dict.fromkeys(keys)))
