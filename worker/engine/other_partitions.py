"""The same group without partitions, or with them: nobody reads its candles any more.

It is there after somebody has set `MARKETSTATE_PARTITIONS`, or no longer sets it.
"""

from typing import Any

import redis
from msgspec.structs import replace

from marketstate.worker.engine.key_health import printable
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.store.connection import Client


def its_settings(settings: Settings) -> Settings | None:
    """What the first partition or the group would have then; None for the other partitions."""
    if settings.partition is None:
        return replace(settings, partitions=1, partition=0)
    return None if settings.partition else replace(settings, partitions=None, partition=None)


def in_words(client: Client, settings: Settings) -> str:
    """A warning if it is there, otherwise empty."""
    stream, partitions = _found(client, settings)
    if not stream:
        return ""
    if settings.partition is None:
        return (
            f"this group is there with {partitions} partitions, too: a worker without "
            f"{PREFIX}PARTITIONS={partitions} reads none of their streams, such as {stream}"
        )
    return (
        f"this group is there without partitions, too: no worker with {PREFIX}PARTITIONS reads "
        f"{stream}; `marketstate repartition` moves what it keeps"
    )


def instead(client: Client, settings: Settings) -> str:
    """What to set if it is there, for an error that our group is not; otherwise empty."""
    stream, partitions = _found(client, settings)
    if not stream:
        return ""
    if settings.partition is None:
        return f"it is there with {partitions} partitions: set {PREFIX}PARTITIONS={partitions}"
    return f"it is there without partitions: do not set {PREFIX}PARTITIONS"


def _found(client: Client, settings: Settings) -> tuple[str, str]:
    """The input stream that its meta key names, and the number of partitions; empty if it is not
    there.
    """
    other = its_settings(settings)
    if other is None:
        return "", ""
    try:
        meta: Any = client.hgetall(other.keys.meta)
    except redis.ResponseError:  # it is of another type, or would be on another node of a cluster
        return "", ""
    return printable(meta.get(b"input_stream", b"")), printable(meta.get(b"partitions", b""))
