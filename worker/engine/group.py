"""Joins the consumer group: creates it and its internal keys, or checks that our settings match."""

from contextlib import suppress
from typing import Any

import redis

from marketstate.core.theta import minimum_length
from marketstate.schemas.entry_id import parse_entry_id
from marketstate.worker.engine.counters import is_number
from marketstate.worker.engine.key_health import naming_wrong_types
from marketstate.worker.errors import (
    ConfigurationMismatch,
    GroupDeleted,
    PartitionCountMismatch,
    RedisUnusable,
    ShardCountMismatch,
    TwoSources,
)
from marketstate.worker.keys import Keys
from marketstate.worker.log import log
from marketstate.worker.settings import MOST_PARTITIONS, MOST_SHARDS, PREFIX, Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.scripts import Scripts

FORMAT_VERSION = 1
SEE_GROUP_GONE = "see deploy/README.md, When the group is gone"


def join(scripts: Scripts, settings: Settings, *, again: bool = False) -> tuple[int, int]:
    """Create or join the group. Returns the id of the last entry that only warms the windows.

    `again`: this worker was in it before, so that creating it means that Redis has come back empty.
    Raises GroupDeleted, ShardCountMismatch, ConfigurationMismatch or RedisUnusable.
    """
    verdict, boundary = _setup(scripts, settings, settings.start)
    if verdict == "created":
        where = settings.keys.group, settings.keys.input
        if again:
            log.warning("created the group %s on %s again: Redis has come back empty", *where)
        else:
            log.info("created the group %s on %s", *where)
    return parse_entry_id(boundary)


def refuse_another_number(client: Client, settings: Settings) -> None:
    """Raises PartitionCountMismatch if the group has another number of partitions than we, and
    WrongKeyType.
    """
    with naming_wrong_types(client, settings):
        found: Any = client.hget(settings.keys.meta, "partitions")
    refuse_number(found, settings)


def refuse_another_number_if_seen(client: Client, settings: Settings) -> None:
    """As `refuse_another_number`, for what needs nothing else of the group: it goes on without a
    right to `meta`, or with something else there.
    """
    with suppress(redis.ResponseError):
        refuse_number(client.hget(settings.keys.meta, "partitions"), settings)


def refuse_number(found: Any, settings: Settings) -> None:
    """As `refuse_another_number`, with the field `partitions` of meta. Without partitions, the
    group has another key, in which that field means nothing, to workers either.
    """
    if found is not None and settings.partitions and found != b"%d" % settings.partitions:
        text = found.decode(errors="replace")
        raise differs_from_the_group(settings.keys, "partitions", text, settings.partitions)


def look(scripts: Scripts, settings: Settings) -> str:
    """Whether this worker could join, in a few words. Changes nothing; raises as `join` does."""
    verdict, _ = _setup(scripts, settings, "look")
    return "this worker can join it" if verdict == "joined" else verdict


def _setup(scripts: Scripts, settings: Settings, start: str) -> tuple[str, str]:
    keys = settings.keys
    fixed = {
        "format": FORMAT_VERSION,
        "input_stream": keys.input,
        "shards": settings.shards,
        "candle_interval": settings.candle_interval,
    }
    if settings.partitions is not None:
        fixed["partitions"] = settings.partitions
    reply = scripts.setup(
        keys=[
            *(keys.input, keys.meta, keys.members),
            *(keys.unfinished, keys.finished_ids, keys.commits),
            *(keys.members_of_other_source, keys.meta_of_other_source),
        ],
        args=[
            keys.group,
            start,
            settings.worker_id,
            shared_settings(settings),
            ",".join(each.candle_interval for each in settings.longer),
            *(text for name, value in fixed.items() for text in (name, str(value))),
        ],
    )
    verdict, *details = [part.decode(errors="replace") for part in reply]
    match verdict, *details:
        case "created" | "joined", boundary:
            return verdict, boundary
        case "none yet", *_:
            return verdict, "0-0"
        case "deleted", *_:
            raise group_deleted(keys)
        case "stream gone", *_:
            raise stream_gone(keys)
        case "foreign", *_:
            raise RedisUnusable(
                f"{keys.input} has a group {keys.group!r} that no marketstate worker created; "
                f"choose another {PREFIX}GROUP; or, if {keys.meta} or its field settings was "
                f"deleted, {SEE_GROUP_GONE}"
            )
        case "fixed", name, found:
            raise differs_from_the_group(keys, name, found, fixed[name])
        case "damaged", name, found:
            raise RedisUnusable(
                f"the field {name} of {keys.meta} is {found!r} and not an entry id; set it with "
                f"HSET to the one it had, or to 0-0; {SEE_GROUP_GONE}"
            )
        case "other source", other:
            raise two_sources(settings, other)
        case "running", found, other:
            remedy = f"set here what its workers have, or stop {other!r} and all others first"
            raise settings_differ(settings, found, remedy)
        case _:
            raise AssertionError(f"setup.lua answered {reply!r}")


def differs_from_the_group(
    keys: Keys, name: str, found: str, ours: object
) -> RedisUnusable | ConfigurationMismatch:
    """What was settled when the group was created is different, gone or damaged."""
    if not _is_possible(name, found):
        return RedisUnusable(
            f"the field {name} of {keys.meta} is {repr(found) if found else 'gone'}; this "
            f"worker has {ours!r}: if the group was created with that, set the field to "
            f"it (HSET); {SEE_GROUP_GONE}"
        )
    if name == "input_stream":
        return other_stream(keys, found)
    if name == "shards":
        return ShardCountMismatch(
            f"{PREFIX}SHARDS is {ours}, but the group {keys.group!r} was created "
            f"with {found}; set it to {found}, or choose another {PREFIX}GROUP and "
            "other output keys"
        )
    if name == "partitions":
        return PartitionCountMismatch(
            f"{PREFIX}PARTITIONS is {ours}, but the group {keys.group!r} was created with {found}; "
            f"set it to {found}, or move what the group keeps with `marketstate repartition`"
        )
    return ConfigurationMismatch(
        f"the group {keys.group!r} was created with {name} {found!r}, but this worker has "
        f"{ours!r}; change it back, or choose another {PREFIX}GROUP"
    )


def _is_possible(name: str, found: str) -> bool:
    most = {"shards": MOST_SHARDS, "partitions": MOST_PARTITIONS}.get(name)
    return bool(found) and (most is None or (is_number(found) and 1 <= int(found) <= most))


def shards_in(found: bytes, keys: Keys) -> int:
    """The number of shards that `meta` has. Raises RedisUnusable if no worker has written it."""
    if not _is_possible("shards", found.decode(errors="replace")):
        raise RedisUnusable(
            f"the field shards of {keys.meta} is {found[:20].decode(errors='replace')!r}; set it "
            f"with HSET to the number it had; {SEE_GROUP_GONE}"
        )
    return int(found)


def group_gone(client: Client, keys: Keys) -> GroupDeleted:
    """The group alone, the stream and its group with it, or `meta` too."""
    if not client.exists(keys.input):
        return stream_gone(keys)
    return group_deleted(keys) if client.exists(keys.meta) else meta_gone(keys)


def stream_gone(keys: Keys) -> GroupDeleted:
    return GroupDeleted(
        f"the input stream {keys.input} no longer exists, and its group {keys.group!r} went with "
        f"it: a TTL on it ran out, or it was evicted or deleted; {SEE_GROUP_GONE}"
    )


def group_deleted(keys: Keys) -> GroupDeleted:
    return GroupDeleted(
        f"the consumer group {keys.group!r} of {keys.input} has been deleted while "
        f"{keys.meta} is still there; {SEE_GROUP_GONE}"
    )


def other_stream(keys: Keys, found: str) -> ConfigurationMismatch:
    return ConfigurationMismatch(
        f"the group {keys.group!r} was created on {found}, but this worker reads {keys.input}; "
        f"set {PREFIX}INPUT_STREAM to {found}, or choose another {PREFIX}GROUP and other output "
        "keys"
    )


def meta_gone(keys: Keys) -> GroupDeleted:
    return GroupDeleted(f"{keys.meta} is gone; {SEE_GROUP_GONE}")


def shared_settings(settings: Settings) -> str:
    """The settings that all workers of a group must share at any time, as text.

    Settings that were added later are included only if they differ from their default, so that a
    new version can join a group that the previous version created.
    """
    later: dict[str, Any] = {
        "rate_clock": "candle",
        "emit_on_regime_change": False,
        "max_ahead": 60,
        "retire_after": "30d",
    }
    found = {name: getattr(settings, name) for name in later}
    if settings.most_missing != minimum_length(settings.theta):
        later["max_gap"], found["max_gap"] = None, settings.most_missing
    if settings.longer:
        later["intervals"] = ""
        found["intervals"] = ",".join(each.candle_interval for each in settings.longer)
    return (
        f"symbols={','.join(sorted(settings.wanted_symbols or ['all']))} "
        f"publish_interval={settings.publish_interval} window_size={settings.window_size} "
        f"theta={settings.theta_hash} output_prefix={settings.output_prefix} "
        f"output_stream={settings.output_stream} dead_stream={settings.dead_stream}"
        + "".join(f" {name}={found[name]}" for name in later if found[name] != later[name])
    )


def two_sources(settings: Settings, other: str) -> TwoSources:
    """`other` is a live worker with the other source that publishes to the same keys."""
    ours, theirs = "real candles", "synthetic prices"
    if settings.source == "synthetic":
        ours, theirs = theirs, ours
    return TwoSources(
        f"the group {settings.group!r} publishes {theirs} to {settings.output_prefix}* and "
        f"{settings.output_stream}, and this worker would publish {ours} there, because its "
        f"{PREFIX}SOURCE is {settings.source}; set it to the source of the others, or stop "
        f"{other!r} and all others first"
    )


def settings_differ(settings: Settings, found: str, remedy: str) -> ConfigurationMismatch:
    """The error names only what differs: the two texts are long and mostly equal."""
    # The setting names the candle interval, too, which all of them have.
    theirs, ours = (
        text.replace(" intervals=", f" intervals={settings.candle_interval},").split()
        for text in (found, shared_settings(settings))
    )
    only_theirs = " ".join(each for each in theirs if each not in ours) or "the default"
    only_ours = " ".join(each for each in ours if each not in theirs) or "the default"
    return ConfigurationMismatch(
        f"the group {settings.group!r} runs with {only_theirs}, but here with {only_ours}; {remedy}"
    )
