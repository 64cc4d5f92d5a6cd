"""The status of all partitions: their sum, and a line for each."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from marketstate.worker.engine.all_partitions import Answer
from marketstate.worker.engine.freshness import summed_intervals
from marketstate.worker.engine.status import ShardStatus, Status, WorkerStatus
from marketstate.worker.settings import Settings

_NOT_READ: Final = "cannot be read"


class PartitionStatus(msgspec.Struct, frozen=True):
    """What a sum does not show of one partition."""

    partition: str
    """Its tag, such as `{p07}`."""
    stream: str
    lag: int = 0
    lag_at_least: bool = False
    pending: int = 0
    oldest_unfinished_s: float = 0.0
    shards: int = 0
    held: int = 0
    """Shards that a worker holds."""
    workers: int = 0
    """That hold some of them."""
    symbols: int = 0
    set_aside: int = 0
    broken_commits: int = 0
    trouble: str = ""
    """Why it cannot be read; empty if it can. Then all numbers are 0."""

    @property
    def needs_a_look(self) -> str:
        """What is wrong with it, in a few words; empty if nothing is."""
        if self.trouble:
            return f"{_NOT_READ}: {self.trouble}"
        found = []
        if self.held < self.shards:
            found.append(f"{self.held} of {self.shards} shards held")
        if self.set_aside:
            found.append(f"set aside: {self.set_aside}")
        if self.broken_commits:
            found.append(f"broken commits: {self.broken_commits}")
        return ", ".join(found)


def line_of(answer: Answer[Status]) -> PartitionStatus:
    status = answer.found
    if status is None:
        return PartitionStatus(answer.tag, answer.settings.keys.input, trouble=answer.trouble)
    holders = [one.holder for one in status.shards if one.holder]
    return PartitionStatus(
        partition=answer.tag,
        stream=status.stream,
        lag=status.lag,
        lag_at_least=status.lag_at_least,
        pending=status.pending,
        oldest_unfinished_s=status.oldest_unfinished_s,
        shards=len(status.shards),
        held=len(holders),
        workers=len(set(holders)),
        symbols=len(status.symbols),
        set_aside=len(status.quarantine),
        broken_commits=len(status.broken_commits),
    )


def summed(settings: Settings, answers: Sequence[Answer[Status]]) -> Status:
    """Over the partitions that answered. Without partitions, the only status as it is."""
    found = [(each.tag, each.found) for each in answers if each.found is not None]
    every = [status for _, status in found]
    if settings.partitions is None:
        return every[0]
    counters: Counter[str] = Counter()
    for status in every:
        counters.update(status.counters)
    return Status(
        group=every[0].group,
        stream=_streams(answers),
        lag=sum(status.lag for status in every),
        lag_at_least=any(status.lag_at_least for status in every),
        pending=sum(status.pending for status in every),
        oldest_unfinished_s=max(status.oldest_unfinished_s for status in every),
        shards=[
            msgspec.structs.replace(shard, partition=name)
            for name, status in found
            for shard in status.shards
        ],
        workers=list(_workers(found)),
        counters=dict(counters),
        broken_commits=[
            msgspec.structs.replace(commit, shards=[f"{name} {one}" for one in commit.shards])
            for name, status in found
            for commit in status.broken_commits
        ],
        symbols=sorted(
            (one for status in every for one in status.symbols),
            key=lambda one: (one.last_emitted_ms or 0, one.symbol),
        ),
        quarantine=dict(sorted(pair for name, status in found for pair in _aside(name, status))),
        quarantine_hidden="; ".join(
            status.quarantine_hidden for status in every if status.quarantine_hidden
        ),
        read_ms=max(status.read_ms for status in every),
        other_programs=[text for status in every for text in status.other_programs],
        closes_needed=every[0].closes_needed,
        intervals=summed_intervals(status.intervals for status in every),
    )


def _aside(name: str, status: Status) -> Iterator[tuple[str, str]]:
    """What has a space in its name is no symbol, so other partitions may have the same."""
    for symbol, why in status.quarantine.items():
        yield f"{name} {symbol}" if " " in symbol else symbol, why


def _streams(answers: Sequence[Answer[Status]]) -> str:
    first, last = answers[0], answers[-1]
    more = f" to {last.tag}" if last is not first else ""
    return f"{first.settings.keys.input}{more}"


def _workers(found: Sequence[tuple[str, Status]]) -> Iterator[WorkerStatus]:
    """Each once, with all it holds."""
    seen_s: dict[str, float] = {}
    held: dict[str, dict[str, list[int]]] = {}
    for name, status in found:
        for one in status.workers:
            before_s = seen_s.get(one.worker_id, one.seen_s_ago)
            seen_s[one.worker_id] = max(before_s, one.seen_s_ago)
            held.setdefault(one.worker_id, {})[name] = one.shards
    for worker_id in sorted(held):
        yield WorkerStatus(worker_id, [], seen_s[worker_id], held[worker_id])


def free_shards(shards: Iterable[ShardStatus]) -> dict[str, list[int]]:
    """Tag -> the shards that nobody holds; the tag is empty without partitions."""
    free: dict[str, list[int]] = {}
    for one in shards:
        if not one.holder:
            free.setdefault(one.partition, []).append(one.shard)
    return free
