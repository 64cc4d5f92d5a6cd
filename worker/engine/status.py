"""How far behind the group is, who holds which shards, and how fresh the states are.

It only reads, in one transaction, so that its numbers are consistent.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import redis

from schemas.entry_id import entry_time_ms
from worker.engine.group import group_deleted, meta_gone
from worker.engine.mark import parse_mark
from worker.errors import RedisUnusable
from worker.keys import Keys, shard_name
from worker.settings import Settings
from worker.store.clock import clock_ms
from worker.store.connection import Client
from worker.store.scripts import Scripts


class ShardStatus(msgspec.Struct, frozen=True):
    shard: int
    holder: str | None
    epoch: int | None
    lease_left_s: float | None
    pending: int
    symbols: int


class WorkerStatus(msgspec.Struct, frozen=True):
    worker_id: str
    shards: list[int]
    seen_s_ago: float


class SymbolStatus(msgspec.Struct, frozen=True):
    symbol: str
    last_emitted_ms: int | None
    """Close time of the last published state; None while the window fills."""
    age_s: float | None


class Status(msgspec.Struct, frozen=True):
    group: str
    stream: str
    lag: int
    """Entries that no worker has taken."""
    pending: int
    """Entries taken but not finished."""
    oldest_unfinished_s: float
    """Seconds since the oldest of all these was written; 0 if there are none."""
    shards: list[ShardStatus]
    workers: list[WorkerStatus]
    counters: dict[str, int]
    symbols: list[SymbolStatus]
    """Stalest first."""

    @property
    def backlog(self) -> int:
        return self.lag + self.pending


def read_status(client: Client, settings: Settings) -> Status:
    """Raises RedisUnusable if the group does not exist."""
    keys = settings.keys
    every = range(_shards_of_group(client, keys))
    with client.pipeline(transaction=True) as reads:
        reads.time()
        reads.xinfo_groups(keys.input)
        reads.xpending(keys.input, keys.group)
        reads.hgetall(keys.members)
        reads.hgetall(keys.counters)
        for shard in every:
            reads.get(keys.lease(shard))
            reads.pttl(keys.lease(shard))
            reads.hgetall(keys.marks(shard))
        time, groups, summary, members, counters, *of_shards = reads.execute()
    now_ms = clock_ms(time)
    group = next(group for group in groups if group["name"] == keys.group.encode())
    pending = {consumer["name"]: consumer["pending"] for consumer in summary["consumers"]}
    shards = [
        _shard(shard, *of_shards[3 * shard : 3 * shard + 3], pending)  # type: ignore[call-arg]
        for shard in every
    ]
    lag, first_unread = unread(client, keys, group)
    unfinished = [entry_id for entry_id in (summary["min"], first_unread) if entry_id]
    return Status(
        group=keys.group,
        stream=keys.input,
        lag=lag,
        pending=summary["pending"],
        oldest_unfinished_s=max((_age_s(now_ms, entry_id) for entry_id in unfinished), default=0),
        shards=shards,
        workers=list(_workers(members, shards, now_ms)),
        counters={name.decode(): int(count) for name, count in sorted(counters.items())},
        symbols=sorted(
            _symbols(of_shards[2::3], now_ms),
            key=lambda one: (one.last_emitted_ms or 0, one.symbol),
        ),
    )


def _shards_of_group(client: Client, keys: Keys) -> int:
    """The group's own number of shards; our settings may differ."""
    try:
        groups: Any = client.xinfo_groups(keys.input)
    except redis.ResponseError as error:
        if "no such key" not in str(error):
            raise
        groups = []
    found: Any = client.hget(keys.meta, "shards")
    if not any(group["name"] == keys.group.encode() for group in groups):
        if found is not None:
            raise group_deleted(keys)
        raise RedisUnusable(
            f"{keys.input} has no group {keys.group!r}; start a worker, which creates it"
        )
    if found is None:
        raise meta_gone(keys)
    return int(found)


def _shard(
    shard: int,
    token: bytes | None,
    left_ms: int,
    marks: Mapping[bytes, bytes],
    pending: Mapping[bytes, int],
) -> ShardStatus:
    holder, _, epoch = (token or b"").decode().rpartition(":")
    return ShardStatus(
        shard=shard,
        holder=holder or None,
        epoch=int(epoch) if epoch else None,
        lease_left_s=left_ms / 1_000 if token else None,
        pending=pending.get(shard_name(shard).encode(), 0),
        symbols=len(marks),
    )


def unread(client: Client, keys: Keys, group: Mapping[str, Any]) -> tuple[int, bytes | None]:
    """How many entries no worker has taken, and the id of the first one."""
    after = b"(" + group["last-delivered-id"]
    first: Any = client.xrange(keys.input, after, count=1)
    lag = group.get("lag")
    if lag is None:
        lag = Scripts(client).unread(keys=[keys.input], args=[group["last-delivered-id"]])
    return lag, (first[0][0] if first else None)


def _workers(
    members: Mapping[bytes, bytes], shards: list[ShardStatus], now_ms: float
) -> Iterator[WorkerStatus]:
    for name, entry in sorted(members.items()):
        seen_ms = int(entry.partition(b":")[0])
        held = [shard.shard for shard in shards if shard.holder == name.decode()]
        yield WorkerStatus(name.decode(), held, max(0.0, (now_ms - seen_ms) / 1_000))


def _symbols(marks: list[Mapping[bytes, bytes]], now_ms: float) -> Iterator[SymbolStatus]:
    for of_shard in marks:
        for symbol, mark in of_shard.items():
            emitted_ms = parse_mark(mark).close_time_ms
            yield SymbolStatus(
                symbol.decode(),
                emitted_ms or None,
                (now_ms - emitted_ms) / 1_000 if emitted_ms else None,
            )


def _age_s(now_ms: float, entry_id: bytes) -> float:
    return max(0.0, (now_ms - entry_time_ms(entry_id)) / 1_000)
