"""`marketstate repartition`: moves what a group keeps of its symbols to other partitions.

The old group stays as it is, until `marketstate purge` removes it. The new one has keys of its own,
since it has tags that the old one lacks, or another name. So this may break off anywhere, and be
repeated:

1. Everything is copied, and a digest over all windows and marks shows that both sides are equal.
2. The new partitions note that digest. From then on nothing is copied.
3. Their groups are created, each at its place in its stream: behind all that the old group has
   finished, or at the beginning of a stream that the old group does not read. What is there was
   written for the new partitions, so it does not only fill windows (MARKETSTATE_START=warm).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from marketstate.worker.commands.durations import precise_duration
from marketstate.worker.commands.environment_file import environment_file
from marketstate.worker.commands.options import count
from marketstate.worker.commands.plurals import counted
from marketstate.worker.commands.repartition.moving import digest, move
from marketstate.worker.engine.all_partitions import Part, opened
from marketstate.worker.engine.broken_commits import TO_COMPLETE, broken_commits
from marketstate.worker.engine.group import join, look
from marketstate.worker.engine.key_health import check_types, set_aside
from marketstate.worker.engine.removal import intervals_of, living
from marketstate.worker.engine.status import in_words, unfinished
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.errors import ConfigurationError, RedisUnusable
from marketstate.worker.settings import (
    MOST_PARTITIONS,
    PREFIX,
    Settings,
    as_variables,
    environment_with,
    settings_from,
)
from marketstate.worker.store.connection import NO_USER, reporting
from marketstate.worker.store.scripts import Scripts

MOVED: Final = "moved"
"""The field of meta with the digest of what was moved here."""
MOST_UNFINISHED: Final = 1_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", type=count, required=True, metavar="N", help="the number of partitions from now on"
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        help=f"the group from now on; needed if there are partitions already; default: {PREFIX}"
        "GROUP",
    )
    parser.add_argument(
        "--environment",
        type=Path,
        metavar="FILE",
        help="an environment file with what differs for the new group, such as "
        f"{PREFIX}REDIS_URL of a cluster",
    )
    parser.add_argument("--yes", action="store_true", help="do it; without, only look")


def command(options: argparse.Namespace) -> int:
    settings = settings_from()
    if settings.replay_namespace:
        raise ConfigurationError("a replay is fed again: marketstate replay --partitions N")
    if options.to > MOST_PARTITIONS:
        raise ConfigurationError(f"--to {options.to}; allowed: 1 to {MOST_PARTITIONS}")
    target = _target(options)
    if settings.partitions and target.group == settings.group and _same_redis(settings, target):
        raise ConfigurationError(
            f"the group {settings.group!r} has {settings.partitions} partitions already, and the "
            "new ones would have some of their keys: give the new group another name with --group"
        )
    of_old, of_new = (
        ",".join(one.candle_interval for one in each.each_interval) for each in (settings, target)
    )
    if of_old != of_new:
        raise ConfigurationError(
            f"the new group has {PREFIX}INTERVALS={of_new}, and the old one {of_old}: move it with "
            "the same, and change it afterwards"
        )
    with (
        opened(settings, account_needed=NO_USER) as old,
        opened(target, account_needed=NO_USER) as new,
    ):
        _repartition(old, new, settings, target, only_look=not options.yes)
    return 0


def _target(options: argparse.Namespace) -> Settings:
    """The settings of the new group."""
    changes = {"partitions": str(options.to)} | ({"group": options.group} if options.group else {})
    environ = environment_with()
    if options.environment:
        found, unreadable = environment_file(options.environment)
        if unreadable or not found:
            why = unreadable or f"there is no such file, or no {PREFIX}... variable in it"
            raise ConfigurationError(f"--environment {options.environment}: {why}")
        environ |= found
    return settings_from(environ | as_variables(**changes))


def _same_redis(settings: Settings, other: Settings) -> bool:
    names = ("redis_url", "redis_host", "redis_port", "redis_db")
    return all(getattr(settings, name) == getattr(other, name) for name in names)


def _repartition(
    old: Sequence[Part],
    new: Sequence[Part],
    settings: Settings,
    target: Settings,
    *,
    only_look: bool,
) -> None:
    # What is not reported here is reported for the Redis of the new partitions.
    with reporting(settings, NO_USER):
        for part in old:
            check_types(part.client, part.settings)
            _refuse_unfinished(part)
            _refuse_live(part)
    for part in new:
        check_types(part.client, part.settings)
        _refuse_live(part)
    symbols, before = digest(old)
    created = [_is_created(part, before) for part in new]
    print(
        f"{counted(symbols, 'symbol')} of the group {settings.group} on "
        f"{keys_of_all(settings).input}, digest of windows and marks {before}"
    )
    has = {each.longer_interval for each in settings.each_interval}
    had = {each.longer_interval for part in old for each in intervals_of(*part)} - has
    if had:
        print(
            f"not moved: windows of {', '.join(sorted(had))}, which {PREFIX}INTERVALS does not name"
        )
    if only_look:
        print(f"nothing was moved; --yes moves it to {target.partitions} partitions")
        return
    if not any(created):
        move(old, new)
        _prove(new, symbols, before)
        for part in new:
            part.client.hset(part.settings.keys.meta, MOVED, before)
    for part, is_there in zip(new, created, strict=True):
        if not is_there:
            _create(part, old)
    print(f"moved to {target.partitions} partitions, with the same digest")
    _say_what_is_left(old, settings, target)


def _refuse_unfinished(part: Part) -> None:
    """Raises WorkerError if there is no such group, or if it has not finished everything."""
    client, settings = part
    keys = settings.keys
    look(Scripts(client, keys), settings)
    found = unfinished(client, keys, MOST_UNFINISHED)
    if found is None:
        raise ConfigurationError(
            f"{keys.input} has no group {keys.group!r}, so there is nothing to move; see "
            f"{PREFIX}GROUP and {PREFIX}PARTITIONS"
        )
    backlog, at_least = found
    if backlog:
        raise RedisUnusable(
            f"{in_words(backlog, at_least=at_least)} entries of {keys.input} are unfinished: stop "
            "what writes there, let the workers finish, and stop them"
        )
    for symbol, why in set_aside(client, keys)[0].items():
        raise RedisUnusable(f"{symbol} is set aside: {why}")
    commits: Any = client.hgetall(keys.commits)
    for commit in broken_commits(commits):
        raise RedisUnusable(f"{commit}; {TO_COMPLETE}")


def _refuse_live(part: Part) -> None:
    if live := living(part.client, part.settings.keys.members):
        raise RedisUnusable(
            f"workers {', '.join(live)} are live; stop them, or wait one lease time if they were "
            "killed"
        )


def _is_created(part: Part, moved: str) -> bool:
    """Whether an attempt that broke off has created the group. Raises ConfigurationError if
    somebody else has, or if the old group has gone on since.
    """
    client, keys = part.client, part.settings.keys
    if not client.hexists(keys.meta, "settings"):
        return False
    found: Any = client.hget(keys.meta, MOVED)
    if found is None or found.decode() != moved:
        raise ConfigurationError(
            f"the group {keys.group!r} on {keys.input} exists already, and what it has was not "
            "moved there from what there is now; remove it with purge, or choose another --group"
        )
    return True


def _prove(new: Sequence[Part], symbols: int, before: str) -> None:
    found = digest(new)
    if found != (symbols, before):
        raise RedisUnusable(
            f"what was moved differs: {found[0]:,} symbols with the digest {found[1]}, not "
            f"{symbols:,} with {before}; is another program writing? Nothing uses it yet: repeat"
        )


def _create(part: Part, old: Sequence[Part]) -> None:
    """The group of a new partition, at its place in its stream."""
    client, settings = part
    keys = settings.keys
    shared = [
        each
        for each in old
        if each.settings.keys.input == keys.input and _same_redis(each.settings, settings)
    ]
    start = "new" if shared else "replay"
    join(Scripts(client, keys), replace(settings, start=start))
    for each in shared:
        # Behind an entry that came since we looked, the group would skip it.
        begins: Any = client.hget(keys.meta, "start_id")
        groups: Any = client.xinfo_groups(keys.input)
        ended = {group["name"]: group["last-delivered-id"] for group in groups}
        if begins != ended[each.settings.keys.group.encode()]:
            client.xgroup_destroy(keys.input, keys.group)
            client.hdel(keys.meta, "settings")
            raise RedisUnusable(
                f"entries were written to {keys.input} meanwhile: stop what writes there, and "
                "repeat"
            )


def _say_what_is_left(old: Sequence[Part], settings: Settings, target: Settings) -> None:
    is_new_name = settings.group != target.group
    group = f" and {PREFIX}GROUP={target.group}" if is_new_name else ""
    is_same_redis = _same_redis(settings, target)
    there = "" if is_same_redis else " and what the file of --environment has"
    print(f"now set {PREFIX}PARTITIONS={target.partitions}{group}{there}, for workers and commands")
    if is_same_redis:
        print(f"for marketstate gather --partitions, say {_for_bridge(old, settings)}")
        print(
            f"the old states stay beside the new ones until they expire: for "
            f"{precise_duration(settings.state_ttl_s)}, {settings.output_prefix}* has symbols twice"
        )
    old_group = f"{PREFIX}GROUP={settings.group} " if is_new_name else ""
    old_partitions = f"{PREFIX}PARTITIONS={settings.partitions or ''}"
    print(f"when all is well, remove the old group: {old_group}{old_partitions} marketstate purge")


def _for_bridge(old: Sequence[Part], settings: Settings) -> str:
    """So that it does not bring what is finished."""
    if settings.partitions is not None:
        return f"the --group that it has now, by default {settings.group}-gather"
    info: Any = old[0].client.xinfo_stream(settings.keys.input)
    return f"--from {info['last-generated-id'].decode()}"
