"""`marketstate purge`: removes what a group keeps in Redis, after showing it."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis

from marketstate.worker.commands.plurals import counted
from marketstate.worker.engine import other_partitions
from marketstate.worker.engine.all_partitions import Part, opened
from marketstate.worker.engine.group import other_stream, refuse_another_number
from marketstate.worker.engine.key_health import naming_wrong_types, printable
from marketstate.worker.engine.preflight import others_with_our_outputs
from marketstate.worker.engine.removal import (
    existing,
    intervals_of,
    living,
    shards_of,
    symbols_of,
    unlink,
)
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.errors import ConfigurationError, RedisUnusable
from marketstate.worker.keys import Keys
from marketstate.worker.settings import PREFIX, Settings, settings_from
from marketstate.worker.store.connection import NO_USER, Client


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
    with opened(settings, account_needed=NO_USER) as parts:
        purge(parts, outputs=options.outputs, remove=options.yes)
    return 0


class _Kept(NamedTuple):
    """What one partition keeps in Redis; without partitions, the group."""

    client: Client
    keys: Keys
    group: Mapping[str, Any] | None
    """Its part of the reply to XINFO GROUPS."""
    of_group: list[str]
    """Internal keys that belong to no single symbol."""
    symbols: int
    longer: list[str]
    """The longer intervals that it has or had."""
    windows: list[str]
    published: list[str]
    live: list[str]
    """Workers that must stop first."""


def purge(parts: Sequence[Part], *, outputs: bool, remove: bool) -> None:
    """Raises WorkerError if it is not ours, if there is nothing, or while a worker is live."""
    every = []
    for client, part in parts:
        with naming_wrong_types(client, part):
            every.append(_kept(client, part, outputs=outputs))
    internal = sum(existing(each.client, [*each.of_group, *each.windows]) for each in every)
    published = sum(existing(each.client, each.published) for each in every)
    keys = keys_of_all(parts[0].settings)
    if not (any(each.group for each in every) or internal or (outputs and published)):
        see = other_partitions.instead(*parts[0]) or f"see {PREFIX}GROUP and {PREFIX}INPUT_STREAM"
        raise ConfigurationError(
            f"the group {keys.group!r} on {keys.input} has nothing in Redis; {see}"
        )
    live = sorted({worker for each in every for worker in each.live})
    verb = "removing" if remove and not live else "would remove"
    if groups := [each.group for each in every if each.group]:
        print(f"{verb}: the consumer group {keys.group} of {keys.input}, {_backlog(groups)}")
    symbols = sum(each.symbols for each in every)
    longer = sorted({interval for each in every for interval in each.longer})
    of_longer = f", and those of {', '.join(longer)}" if longer else ""
    print(
        f"{verb}: {internal:,} internal keys, {keys.internal_prefix}:*, with the windows of "
        f"{counted(symbols, 'symbol')}"
    )
    print(
        f"{verb if outputs else 'kept'}: {published:,} published keys, {keys.output_prefix}*, its "
        f"records, {keys.output_stream} and {keys.dead_stream}{of_longer}"
    )
    print(f"kept: the input stream {keys.input}", flush=True)
    _refuse_live(live)
    if not remove:
        print("nothing was removed; --yes removes it")
        return
    for each in every:
        _remove(each, outputs=outputs)
    print("done")


def _kept(client: Client, settings: Settings, *, outputs: bool) -> _Kept:
    keys = settings.keys
    groups: Any = client.xinfo_groups(keys.input) if client.exists(keys.input) else []
    group = next((each for each in groups if each["name"] == keys.group.encode()), None)
    _refuse_foreign(client, keys, is_there=group is not None)
    refuse_another_number(client, settings)
    if outputs:
        _refuse_shared(client, settings)
    shards, had = shards_of(client, settings), intervals_of(client, settings)
    published, windows, of_group = [keys.dead_stream], [], _internal(keys, shards)
    # A symbol may have retired while an interval was not in the settings.
    symbols = {symbol for each in had for symbol in symbols_of(client, each)}
    for its in (each.keys for each in had):
        published.append(its.output_stream)
        published += [key(symbol) for symbol in symbols for key in (its.state, its.record)]
        windows += [its.window(symbol) for symbol in symbols]
        of_group += map(its.marks, range(shards))
    longer = [each.longer_interval for each in had if each.longer_interval]
    live = _live(client, keys, outputs=outputs)
    return _Kept(client, keys, group, of_group, len(symbols), longer, windows, published, live)


def _backlog(groups: Sequence[Mapping[str, Any]]) -> str:
    lags: list[Any] = [group.get("lag") for group in groups]
    unread = "?" if None in lags else sum(lags)
    return f"with lag {unread} and {sum(group['pending'] for group in groups)} pending"


def _remove(kept: _Kept, *, outputs: bool) -> None:
    """What names the symbols goes last, so that an interrupted purge can be repeated; and in one
    step, which Redis refuses if a worker has joined since we looked.
    """
    client, keys = kept.client, kept.keys
    with client.pipeline() as steps:
        steps.watch(keys.members)  # type: ignore[no-untyped-call]
        if living(client, keys.members):
            raise _joined()
        unlink(client, [*kept.windows, *(kept.published if outputs else [])])
        steps.multi()
        if kept.group:
            steps.xgroup_destroy(keys.input, keys.group)
        steps.unlink(*kept.of_group)
        try:
            steps.execute()
        except redis.WatchError:
            raise _joined() from None


def _joined() -> RedisUnusable:
    return RedisUnusable("a worker has joined the group meanwhile; stop it, and purge again")


def _internal(keys: Keys, shards: int) -> list[str]:
    """The internal keys that belong to no single symbol or interval."""
    others = {keys.input, keys.dead_stream, *keys.of_interval(shards, ())}
    return [key for key in keys.every(shards, ()) if key not in others]


def _refuse_shared(client: Client, settings: Settings) -> None:
    for other in others_with_our_outputs(client, settings):
        publishes = "publishes" if other.verdict == "warn" else "may publish"
        raise ConfigurationError(
            f"the {other.subject} {publishes} to the same keys as the group {settings.group}: "
            "purge without --outputs"
        )


def _refuse_foreign(client: Client, keys: Keys, *, is_there: bool) -> None:
    found: Any = client.hget(keys.meta, "input_stream")
    if found is not None and found != keys.input.encode():
        raise other_stream(keys, printable(found))
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
