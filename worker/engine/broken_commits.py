"""Commits that broke off half-way: how they are completed, and how they are shown.

A commit breaks off if Redis refuses one of its commands, because the user lacks a right or the
command was renamed. `worker/lua/carry_out.lua` explains why nothing is lost or repeated.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from marketstate.worker.engine.counters import warn_of_damaged
from marketstate.worker.errors import CommitBrokenOff, LeaseLost, RedisUnusable
from marketstate.worker.keys import Keys, shard_name
from marketstate.worker.log import log
from marketstate.worker.store.scripts import Scripts

TO_COMPLETE: Final = (
    "remove the reason (ACL LOG shows missing rights), then start a worker: it completes the commit"
)
"""What to do about the failure of a commit."""


class BrokenCommit(msgspec.Struct, frozen=True):
    shards: list[str]
    """Their consumers. No worker uses them until the commit is completed."""
    failure: str
    """The command, its key, and the error."""

    def __str__(self) -> str:
        return f"the last commit of {', '.join(self.shards)} broke off at {self.failure}"


def broken_commits(commits: Mapping[bytes, bytes]) -> list[BrokenCommit]:
    """From the hash of commits; carry_out.lua describes its format."""
    shards: dict[str, list[str]] = {}
    failures: dict[str, str] = {}
    for consumer, text in sorted(commits.items()):
        line = text.partition(b"\n")[0].decode(errors="replace")
        commit_id, colon, rest = line.partition(":")
        if colon:
            shards.setdefault(commit_id, []).append(consumer.decode(errors="replace"))
            if failure := rest.partition(":")[2]:
                failures[commit_id] = failure
    return [
        BrokenCommit(consumers, failures.get(commit_id, "an unknown command"))
        for commit_id, consumers in shards.items()
    ]


def complete(scripts: Scripts, keys: Keys, shard: int, token: str) -> bytes:
    """Complete the last commit of the shard if it broke off; its id, empty if there was none.

    Raises LeaseLost, or CommitBrokenOff if the commit cannot be completed yet.
    """
    consumer = shard_name(shard)
    reply = scripts.complete(
        keys=[keys.commits, keys.lease(shard), keys.finished_ids], args=[token, consumer]
    )
    match reply:
        case [b"complete", commit_id]:
            return bytes(commit_id)
        case [b"completed", commit_id, failure, damaged_keys, damaged_counters]:
            log.warning(
                "%s: its last commit broke off at %s; it is completed now",
                consumer,
                _text(failure),
            )
            for key in damaged_keys:
                log.warning(
                    "the key %s holds another type of value since then; nothing was written to it",
                    _text(key),
                )
            warn_of_damaged(keys, damaged_counters)
            return bytes(commit_id)
        case [b"lease lost"]:
            raise LeaseLost([shard])
        case [b"not noted"]:
            raise RedisUnusable(
                f"the field {consumer} of {keys.commits} says that a commit broke off, but the "
                "rest of the commit is not there: was the hash edited? Delete the field (HDEL); "
                "the batch may then be applied in part"
            )
        case [b"broken off", failure]:
            raise broken_off(keys, [shard], failure)
        case _:
            raise AssertionError(f"complete.lua answered {reply!r}")


def broken_off(keys: Keys, shards: Iterable[int], failure: bytes) -> CommitBrokenOff:
    commit = BrokenCommit([*map(shard_name, shards)], _text(failure))
    return CommitBrokenOff(f"{commit}; the rest of it is stored in {keys.commits}; {TO_COMPLETE}")


def _text(reply: bytes) -> str:
    return reply.decode(errors="replace")
