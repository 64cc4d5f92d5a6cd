"""How far behind the group is, who holds which shards, and how fresh the states are.

It only reads, all at one moment if Redis allows it, so that its numbers are consistent.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import redis
from redis.client import Pipeline

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.engine import other_partitions
from marketstate.worker.engine.broken_commits import BrokenCommit, broken_commits
from marketstate.worker.engine.counters import is_number, numbers
from marketstate.worker.engine.freshness import (
    IntervalStatus,
    SymbolStatus,
    status_of,
    symbols_of,
)
from marketstate.worker.engine.group import (
    differs_from_the_group,
    group_gone,
    meta_gone,
    refuse_number,
    shards_in,
)
from marketstate.worker.engine.key_health import naming_wrong_types, printable, set_aside
from marketstate.worker.errors import NoGroup
from marketstate.worker.keys import Keys, shard_name
from marketstate.worker.settings import Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client
from marketstate.worker.store.scripts import Scripts
from marketstate.worker.store.snapshot import read_together

# If Redis does not know how many entries are unread, they are counted, but only up to this many:
# counting costs Redis about ten microseconds for each.
MOST_COUNTED: Final = 100_000
MOST_COUNTED_PERIODICALLY: Final = 10_000
COUNTED_AT_ONCE: Final = 1_000


class ShardStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    shard: int
    holder: str | None
    epoch: int | None
    lease_left_s: float | None
    pending: int
    symbols: int
    partition: str = ""
    """Its tag, in a sum over partitions."""


class WorkerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    worker_id: str
    shards: list[int]
    """In a sum over partitions: empty, see `in_partitions`."""
    seen_s_ago: float
    in_partitions: dict[str, list[int]] = {}
    """Tag -> the shards that it holds there; only in a sum over partitions."""

    @property
    def shards_held(self) -> int:
        return len(self.shards) + sum(map(len, self.in_partitions.values()))

    @property
    def holds_shards(self) -> bool:
        return self.shards_held > 0


class Status(msgspec.Struct, frozen=True):
    group: str
    stream: str
    lag: int
    """Entries that no worker has taken."""
    lag_at_least: bool
    """There may be more: Redis does not know the number, and not all of them were counted."""
    pending: int
    """Entries taken but not finished."""
    oldest_unfinished_s: float
    """Seconds since the oldest of all these was written; 0 if there are none."""
    shards: list[ShardStatus]
    workers: list[WorkerStatus]
    counters: dict[str, int]
    broken_commits: list[BrokenCommit]
    """Half-done, until the worker that takes one of their shards completes them."""
    symbols: list[SymbolStatus]
    """Stalest first."""
    quarantine: dict[str, str]
    """Symbols that are set aside: what was found of each, and how to repair it."""
    quarantine_hidden: str
    """Why these cannot be shown; empty if they can."""
    other_programs: list[str] = []
    """Where another program writes our keys; only `marketstate status` looks."""
    closes_needed: int = 0
    """For a state, by the settings of `marketstate status`."""
    read_ms: float = 0
    """When this was read, by the clock of Redis."""
    intervals: list[IntervalStatus] = []
    """The longer ones, the shortest first."""

    @property
    def backlog(self) -> int:
        """At least, where `lag_at_least`."""
        return self.lag + self.pending

    @property
    def lag_in_words(self) -> str:
        return in_words(self.lag, at_least=self.lag_at_least)


def enough_for(max_lag: float, otherwise: int = MOST_COUNTED) -> int:
    """How many entries to count so that a backlog above `max_lag` is recognised."""
    return int(max_lag) + 1 if max_lag < math.inf else otherwise


class Unread(NamedTuple):
    """The entries that no worker has taken."""

    entries: int
    at_least: bool
    """Whether there may be more."""
    first_id: bytes | None

    def __str__(self) -> str:
        return in_words(self.entries, at_least=self.at_least)


def in_words(count: int, *, at_least: bool) -> str:
    return f"at least {count}" if at_least else str(count)


def read_status(client: Client, settings: Settings, most_counted: int = MOST_COUNTED) -> Status:
    """`most_counted` as in `unread`. Raises RedisUnusable if the group does not exist, or if one of
    its keys is damaged, and ConfigurationMismatch if the group reads another stream or has another
    number of partitions.
    """
    with naming_wrong_types(client, settings):
        return _read(client, settings, most_counted)


def _read(client: Client, settings: Settings, most_counted: int) -> Status:
    keys = settings.keys
    every = range(_shards_of_group(client, settings))

    def ask(reads: Pipeline) -> None:
        reads.time()
        reads.xinfo_groups(keys.input)
        reads.xpending(keys.input, keys.group)
        reads.hgetall(keys.members)
        reads.hgetall(keys.counters)
        reads.hgetall(keys.commits)
        for shard in every:
            reads.get(keys.lease(shard))
            reads.pttl(keys.lease(shard))
            reads.hgetall(keys.marks(shard))
        for longer in settings.longer:
            for shard in every:
                reads.hgetall(longer.keys.marks(shard))

    replies = read_together(client, ask)
    time, groups, summary, members, counters, commits, *rest = replies
    of_shards, of_longer = rest[: 3 * len(every)], rest[3 * len(every) :]
    marks, counted = of_shards[2::3], numbers(counters)
    now_ms = clock_ms(time)
    group = next(group for group in groups if group["name"] == keys.group.encode())
    pending = {consumer["name"]: consumer["pending"] for consumer in summary["consumers"]}
    shards = [
        _shard(shard, *of_shards[3 * shard : 3 * shard + 3], pending)  # type: ignore[call-arg]
        for shard in every
    ]
    waiting = unread(client, keys, group, most_counted)
    aside, hidden = set_aside(client, keys)
    unfinished = [entry_id for entry_id in (summary["min"], waiting.first_id) if entry_id]
    return Status(
        group=keys.group,
        stream=keys.input,
        lag=waiting.entries,
        lag_at_least=waiting.at_least,
        pending=summary["pending"],
        oldest_unfinished_s=max((_age_s(now_ms, entry_id) for entry_id in unfinished), default=0),
        shards=shards,
        workers=list(_workers(members, shards, now_ms)),
        counters=counted,
        broken_commits=broken_commits(commits),
        symbols=sorted(
            symbols_of(marks, now_ms),
            key=lambda one: (one.last_emitted_ms or 0, one.symbol),
        ),
        quarantine=aside,
        quarantine_hidden=hidden,
        read_ms=now_ms,
        intervals=[
            status_of(longer, marks, of_longer[i * len(every) :][: len(every)], counted, now_ms)
            for i, longer in enumerate(settings.longer)
        ],
    )


def _shards_of_group(client: Client, settings: Settings) -> int:
    """The group's own number of shards; our settings may differ."""
    keys = settings.keys
    try:
        groups: Any = client.xinfo_groups(keys.input)
    except redis.ResponseError as error:
        if "no such key" not in str(error):
            raise
        groups = []
    meta: Any = client.hgetall(keys.meta)
    stream, found = meta.get(b"input_stream"), meta.get(b"shards")
    if stream is not None and stream != keys.input.encode():
        raise differs_from_the_group(keys, "input_stream", printable(stream), keys.input)
    if not any(group["name"] == keys.group.encode() for group in groups):
        if found is not None:
            raise group_gone(client, keys)
        instead = other_partitions.instead(client, settings)
        raise NoGroup(
            f"{keys.input} has no group {keys.group!r}; "
            f"{instead or 'start a worker, which creates it'}"
        )
    # Fewer partitions than there are would look as if they were all.
    refuse_number(meta.get(b"partitions"), settings)
    if found is None:
        raise meta_gone(keys)
    return shards_in(found, keys)


def _shard(
    shard: int,
    token: bytes | None,
    left_ms: int,
    marks: Mapping[bytes, bytes],
    pending: Mapping[bytes, int],
) -> ShardStatus:
    holder, _, epoch = printable(token or b"").rpartition(":")
    return ShardStatus(
        shard=shard,
        holder=holder or None,
        epoch=int(epoch) if is_number(epoch) else None,
        lease_left_s=left_ms / 1_000 if token else None,
        pending=pending.get(shard_name(shard).encode(), 0),
        symbols=len(marks),
    )


def unread(client: Client, keys: Keys, group: Mapping[str, Any], most: int) -> Unread:
    """The entries that no worker has taken; `group` is its part of the reply to XINFO GROUPS.

    Redis 7 knows their number, unless entries were deleted; Redis 6.2 never does. Then they are
    counted, up to `most`, in small steps, so that a long backlog blocks nobody.
    """
    last = group["last-delivered-id"]
    first: Any = client.xrange(keys.input, b"(" + last, count=1)
    first_id = first[0][0] if first else None
    lag = group.get("lag")
    # Below 0 it cannot be right: Redis 7 calculates it for a group that Redis 6.2 created.
    if lag is not None and lag >= 0:
        return Unread(lag, False, first_id)
    # It names one key, so no node could begin it and lack another.
    count_some, count, ended = Scripts(client).unread, 0, False
    while not ended and count < most:
        at_once = min(COUNTED_AT_ONCE, most - count)
        found: Any = count_some(keys=[keys.input], args=[last, at_once])
        count, last, ended = count + found[0], found[1], found[2] == 1
    return Unread(count, not ended, first_id)


def unfinished(client: Client, keys: Keys, most: float) -> tuple[int, bool] | None:
    """How many entries the group has not finished, and whether there may be more: it counts only
    until they exceed `most`. None if the stream has no such group.
    """
    groups: Any = client.xinfo_groups(keys.input) if client.exists(keys.input) else []
    for group in groups:
        if group["name"] == keys.group.encode():
            pending = int(group["pending"])
            waiting = unread(client, keys, group, max(0, int(most) + 1 - pending))
            return waiting.entries + pending, waiting.at_least
    return None


def _workers(
    members: Mapping[bytes, bytes], shards: list[ShardStatus], now_ms: float
) -> Iterator[WorkerStatus]:
    for name, entry in sorted(members.items()):
        seen_ms, worker_id = entry.partition(b":")[0], printable(name)
        held = [shard.shard for shard in shards if shard.holder == worker_id]
        if is_number(seen_ms):
            yield WorkerStatus(worker_id, held, max(0.0, (now_ms - int(seen_ms)) / 1_000))


def _age_s(now_ms: float, entry_id: bytes) -> float:
    return max(0.0, (now_ms - entry_time_ms(entry_id)) / 1_000)
