"""`marketstate purge`: removes what a group keeps in Redis, after showing it."""

import argparse
from collections.abc import Sequence
from typing import Any

import redis

from worker.engine.group import other_stream
from worker.engine.preflight import others_with_our_outputs
from worker.engine.removal import existing, living, shards_of, symbols_of, unlink
from worker.errors import ConfigurationError, RedisUnusable
from worker.keys import Keys
from worker.settings import PREFIX, Settings, settings_from
from worker.store import connection
from worker.store.connection import Client


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--outputs",
        action="store_true",
        help="also the published states, the output stream and the dead letters",
    )
    parser.add_argument("--yes", action="store_true", help="remove it; without, only show it")


def command(options: argparse.Namespace) -> int:
    settings = settings_from()
    if name := settings.replay_namespace:
        raise ConfigurationError(
            f"a replay is removed with: marketstate replay --namespace {name} --clean"
        )
    try:
        with connection.open_client(settings, block_s=0) as client:
            _purge(client, settings, outputs=options.outputs, remove=options.yes)
    except redis.RedisError as error:
        raise connection.unusable(error, settings) from error
    return 0


def _purge(client: Client, settings: Settings, *, outputs: bool, remove: bool) -> None:
    """Raises WorkerError if it is not ours, if there is nothing, or while a worker is live."""
    keys = settings.keys
    groups: Any = client.xinfo_groups(keys.input) if client.exists(keys.input) else []
    [*own] = (each for each in groups if each["name"] == keys.group.encode())
    _refuse_foreign(client, keys, is_there=bool(own))
    if outputs:
        _refuse_shared(client, settings)
    shards, symbols = shards_of(client, settings), symbols_of(client, settings)
    of_symbols = [keys.window(symbol) for symbol in symbols]
    of_group = _internal(keys, shards)
    published = [keys.output_stream, keys.dead_stream]
    published += [key(symbol) for symbol in symbols for key in (keys.state, keys.record)]
    counts = {
        f"internal keys, {keys.internal_prefix}:*": existing(client, [*of_group, *of_symbols]),
        f"published keys, {keys.output_prefix}*, its records, {keys.output_stream} and "
        f"{keys.dead_stream}": existing(client, published),
    }
    (internal, internal_n), (outward, published_n) = counts.items()
    if not own and not internal_n and not (outputs and published_n):
        raise ConfigurationError(
            f"the group {keys.group!r} on {keys.input} has nothing in Redis; see {PREFIX}GROUP and "
            f"{PREFIX}INPUT_STREAM"
        )
    live = _live(client, keys, outputs=outputs)
    verb = "removing" if remove and not live else "would remove"
    for group in own:
        unread = "?" if group.get("lag") is None else group["lag"]
        print(
            f"{verb}: the consumer group {keys.group} of {keys.input}, with lag {unread} and "
            f"{group['pending']} pending"
        )
    print(f"{verb}: {internal_n:,} {internal}, with the windows of {len(symbols):,} symbols")
    print(f"{verb if outputs else 'kept'}: {published_n:,} {outward}")
    print(f"kept: the input stream {keys.input}", flush=True)
    _refuse_live(live)
    if not remove:
        print("nothing was removed; --yes removes it")
        return
    _remove(client, keys, of_group, [*of_symbols, *(published if outputs else [])], bool(own))
    print("done")


def _remove(
    client: Client, keys: Keys, of_group: Sequence[str], others: Sequence[str], has_group: bool
) -> None:
    """What names the symbols goes last, so that an interrupted purge can be repeated; and in one
    step, which Redis refuses if a worker has joined since we looked.
    """
    with client.pipeline() as steps:
        steps.watch(keys.members)  # type: ignore[no-untyped-call]
        _refuse_live(living(client, keys.members))
        unlink(client, others)
        steps.multi()
        if has_group:
            steps.xgroup_destroy(keys.input, keys.group)
        steps.unlink(*of_group)
        try:
            steps.execute()
        except redis.WatchError:
            raise RedisUnusable(
                "a worker has joined the group meanwhile; stop it, and purge again"
            ) from None


def _internal(keys: Keys, shards: int) -> list[str]:
    """The internal keys that belong to no single symbol."""
    streams = {keys.input, keys.output_stream, keys.dead_stream}
    return [key for key in keys.every(shards, ()) if key not in streams]


def _refuse_shared(client: Client, settings: Settings) -> None:
    for other in others_with_our_outputs(client, settings):
        raise ConfigurationError(
            f"the {other.subject} publishes to the same keys as the group {settings.group}: purge "
            "without --outputs"
        )


def _refuse_foreign(client: Client, keys: Keys, *, is_there: bool) -> None:
    found: Any = client.hget(keys.meta, "input_stream")
    if found is not None and found.decode() != keys.input:
        raise other_stream(keys, found.decode())
    if found is None and is_there:
        raise ConfigurationError(
            f"no marketstate worker created the group {keys.group!r} of {keys.input}, or "
            f"{keys.meta} was deleted; to remove the group: XGROUP DESTROY {keys.input} "
            f"{keys.group}"
        )


def _live(client: Client, keys: Keys, *, outputs: bool) -> list[str]:
    """With `outputs`, also workers with the other source, which may publish to the same keys."""
    live = living(client, keys.members)
    return live + living(client, keys.members_of_other_source) if outputs else live


def _refuse_live(live: Sequence[str]) -> None:
    if live:
        raise RedisUnusable(
            f"nothing was removed: workers {', '.join(live)} are live; stop them, or wait one "
            "lease time if they were killed, and purge again"
        )
