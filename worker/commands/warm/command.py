"""`marketstate warm`: puts the closes of candle files into windows, once, before workers need them.

A window of 1h needs 257 hours of candles before its first state. If you have them in files, you
need not wait. What a window has already is never changed: closes are put in front of it, or into an
empty one. Nothing is published for them.

Workers must be stopped, because they have the windows in memory. Like a commit, each write is
fenced: Redis refuses it if a worker has joined, or a window has changed, since we looked.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import redis

from marketstate.core.theta import minimum_length
from marketstate.schemas.longer import TimedClose
from marketstate.schemas.partitions import partition_of
from marketstate.schemas.sequence import Place, place
from marketstate.worker.commands.options import (
    add_candle_files,
    add_namespace,
    names_of_intervals,
    said,
)
from marketstate.worker.commands.refed import decoded
from marketstate.worker.commands.warm.closes import Closes, filled
from marketstate.worker.engine import window_codec
from marketstate.worker.engine.all_partitions import Part, opened
from marketstate.worker.engine.broken_commits import TO_COMPLETE, broken_commits
from marketstate.worker.engine.group import look
from marketstate.worker.engine.key_health import set_aside
from marketstate.worker.engine.removal import living, symbols_of
from marketstate.worker.engine.utc import utc
from marketstate.worker.errors import ConfigurationError, RedisUnusable
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.piped import readable_path
from marketstate.worker.settings import PREFIX, Settings, settings_from
from marketstate.worker.store.connection import NO_USER, Client
from marketstate.worker.store.scripts import Scripts

ENTRIES_AT_ONCE: Final = 1_000
MOST_UNREAD: Final = 1_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=readable_path,
        metavar="FILE",
        help="candle files of one interval (CSV, .csv.gz, .zip), or folders of them",
    )
    parser.add_argument("--yes", action="store_true", help="do it; without, only look")
    add_namespace(parser)
    add_candle_files(parser)


def command(options: argparse.Namespace) -> int:
    settings = settings_from(namespace=options.namespace)
    files = CandleFiles(options.files, said(options))
    closes = Closes(settings, files.interval)
    if not closes.intervals:
        raise ConfigurationError(
            f"the files have candles of {files.interval}, of which none of the intervals "
            f"{names_of_intervals(settings)} can be made; see {PREFIX}INTERVALS"
        )
    with opened(settings, account_needed=NO_USER) as parts:
        _warm(parts, files, closes, options)
    return 0


def _warm(
    parts: Sequence[Part],
    files: CandleFiles,
    closes: Closes,
    options: argparse.Namespace,
) -> None:
    for client, part in parts:
        _refuse_live(client, part)
        # In another shard or partition than the group's, no worker would find a window.
        look(Scripts(client, part.keys), part)
        _refuse_broken(client, part)
    settings = parts[0][1]
    unread = {symbol: ms for part in parts for symbol, ms in _first_unread(*part).items()}
    findings = Findings(skip_bad=options.skip_bad, allow_gaps=True)
    wanted = settings.wanted_symbols
    for read in files.read(findings):
        candle = read.candle
        until_ms = unread.get(candle.symbol)
        is_history = until_ms is None or (
            place(candle.close_time, until_ms, settings.candle_interval_ms) is Place.NEXT
        )
        if is_history and (wanted is None or candle.symbol in wanted):
            closes.take(candle)
    for line in findings.report():
        print(line, file=sys.stderr)
    for number, (client, part) in enumerate(parts):
        symbols = [one for one in closes.symbols if partition_of(one, len(parts)) == number]
        _refuse_too_many(client, part, symbols)
        aside, _ = set_aside(client, part.keys)
        for symbol in symbols:
            if symbol in aside:
                print(f"{symbol}: unchanged: it is set aside: {aside[symbol]}")
            else:
                print(f"{symbol}: {_fill(client, part, symbol, closes, write=options.yes)}")
    if not options.yes:
        print("nothing was written; --yes writes it")


def _fill(client: Client, settings: Settings, symbol: str, closes: Closes, *, write: bool) -> str:
    """One symbol, in one step. Returns what was done, in words."""
    shard, done = settings.shard_of(symbol), []
    needed = minimum_length(settings.theta)
    with client.pipeline() as steps:
        windows = [each.keys.window(symbol) for each in settings.each_interval]
        # A worker that takes a lease becomes a member in the same step.
        steps.watch(settings.keys.members, *windows)  # type: ignore[no-untyped-call]
        _refuse_live(client, settings)
        shorter: list[TimedClose] = []
        queued: list[tuple[str, ...]] = []
        for each in settings.each_interval:
            name, key = each.candle_interval, each.keys.window(symbol)
            try:
                there = _closes_at(client, key)
            except (ValueError, redis.ResponseError) as error:
                return f"unchanged: {key} cannot be used: {error}"
            history = closes.of(symbol, name)
            found = filled(each, history, there, shorter, settings.candle_interval)
            if not each.longer_interval:
                shorter = [*found.in_front, *there]
            if not found.in_front:
                done.append(f"{name} unchanged: {found.why}")
                continue
            if not queued:
                steps.multi()
            steps.lpush(key, *window_codec.pack(found.in_front)[::-1])
            if found.behind:
                steps.rpush(key, *window_codec.pack(found.behind))
            steps.hsetnx(each.keys.marks(shard), symbol, "0")
            queued.append((name, key))
            put = [*found.in_front, *found.behind]
            before = f" in front of its {len(there):,}" if there else ""
            few = f", of {needed:,} that a state needs" * (len(put) + len(there) < needed)
            done.append(f"{name} {len(put):,} closes up to {utc(put[-1][0])} UTC{before}{few}")
        if queued and write:
            # Whatever is known of a symbol, the group finds it by this.
            steps.hsetnx(settings.keys.marks(shard), symbol, "0")
            try:
                steps.execute()
            except redis.WatchError:
                raise RedisUnusable(
                    "a worker has joined the group meanwhile, or another `warm` has written; see "
                    "to it that none does, and try again"
                ) from None
    return "; ".join(done)


def _closes_at(client: Client, key: str) -> list[TimedClose]:
    packed: Any = client.lrange(key, 0, -1)
    times_ms, closes = window_codec.unpack(b"".join(packed))
    return list(zip(times_ms.tolist(), closes.tolist(), strict=True))


def _first_unread(client: Client, settings: Settings) -> dict[str, int]:
    """The first candle of each symbol that the group has still to apply, by its close time: what
    files have from there on, the workers get from the stream, and publish.
    """
    found: dict[str, int] = {}
    for number, fields in enumerate(_unfinished(client, settings)):
        if number == MOST_UNREAD:
            raise RedisUnusable(
                f"more than {MOST_UNREAD:,} entries of {settings.keys.input} are unfinished: let "
                "the workers finish, stop them, and try again"
            )
        candle = decoded(fields)
        if candle is not None:
            found[candle.symbol] = min(candle.close_time, found.get(candle.symbol, sys.maxsize))
    return found


def _unfinished(client: Client, settings: Settings) -> Iterator[dict[bytes, bytes]]:
    """The entries that are not finished, and some that are."""
    keys = settings.keys
    if not client.exists(keys.input):
        return
    groups: Any = client.xinfo_groups(keys.input)
    group = next((each for each in groups if each["name"] == keys.group.encode()), None)
    after = b"-" if settings.start != "new" else b"+"
    if group is not None:
        after = b"(" + group["last-delivered-id"]
        summary: Any = client.xpending(keys.input, keys.group)
        if summary["pending"]:
            after = summary["min"]
    while entries := _page(client, keys.input, after):
        for _, fields in entries:
            yield fields
        after = b"(" + entries[-1][0]


def _page(client: Client, stream: str, after: bytes) -> Any:
    return client.xrange(stream, after, count=ENTRIES_AT_ONCE) if after != b"+" else []


def _refuse_live(client: Client, settings: Settings) -> None:
    keys = settings.keys
    live = living(client, keys.members)
    if live:
        raise RedisUnusable(f"workers {', '.join(live)} are live; stop them first")
    if held := client.exists(*map(keys.lease, range(settings.shards))):
        raise RedisUnusable(
            f"{held} shards are still leased, by workers that were killed: wait one lease time"
        )


def _refuse_broken(client: Client, settings: Settings) -> None:
    commits: Any = client.hgetall(settings.keys.commits)
    for commit in broken_commits(commits):
        raise RedisUnusable(f"{commit}; {TO_COMPLETE}")


def _refuse_too_many(client: Client, settings: Settings, symbols: Sequence[str]) -> None:
    known = set(symbols_of(client, settings))
    if len(known | {*symbols}) > settings.most_symbols:
        raise ConfigurationError(
            f"the group has {len(known):,} symbols, and the files {len({*symbols} - known):,} more;"
            f" {PREFIX}MAX_SYMBOLS allows {settings.most_symbols:,}"
        )
