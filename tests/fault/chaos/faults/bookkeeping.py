"""Numbers that the group keeps for itself are damaged. No worker may end of it."""

import random
from collections.abc import Callable, Sequence
from typing import Final

from tests.fault.chaos.names import SHARDS, consumer_of
from tests.fault.chaos.notes import Command
from tests.fault.chaos.stage import Stage, Steps, until_or

JUNK: Final = ("abc", "007", "-0", "1e+8", "", " 1", str(2**63 - 1), "1" * 30)


def bookkeeping_damaged(stage: Stage, rng: random.Random) -> Steps:
    return (yield from rng.choice(DAMAGES)(stage, rng))


def _counter(stage: Stage, rng: random.Random) -> Steps:
    """It starts again at 0; what it was is noted for the checker."""
    name = rng.choice(["applied", "emitted", "revised", "late", "unclosed", "dead", "gap"])
    kept = f"{name}.damaged"
    master = stage.servers.master
    master.command("HDEL", stage.names.counters, kept)
    commands = [("COUNTER", name, rng.choice(JUNK))]
    return (
        yield from _damage(
            stage,
            commands,
            lambda: master.command("HEXISTS", stage.names.counters, kept),
            what="counter",
            name=name,
        )
    )


def _unfinished(stage: Stage, rng: random.Random) -> Steps:
    field = consumer_of(rng.randrange(SHARDS))
    return (yield from _field_damaged(stage, stage.names.internal("unfinished"), field, rng))


def _account(stage: Stage, rng: random.Random) -> Steps:
    """While everything is read: until the account is known again, nothing is counted as lost."""
    if not stage.servers.master.command(
        "HEXISTS", stage.names.internal("meta"), "entries_accounted"
    ):
        return False  # on Redis 6.2
    stage.feeder.hold()
    yield from until_or(lambda: stage.group()["lag"] == 0)
    stage.feeder.go_on()
    return (
        yield from _field_damaged(stage, stage.names.internal("meta"), "entries_accounted", rng)
    )


def _epoch(stage: Stage, rng: random.Random) -> Steps:
    junk, lease = rng.choice(JUNK), stage.names.lease(rng.randrange(SHARDS))
    commands = [("SET", stage.names.internal("epoch"), junk), ("DEL", lease)]

    def repaired() -> bool:
        return bool(
            stage.servers.master.command("GET", stage.names.internal("epoch")) != junk.encode()
        )

    return (yield from _damage(stage, commands, repaired))


def _lease(stage: Stage, rng: random.Random) -> Steps:
    """Without an expiry, and of nobody."""
    lease, junk = (
        stage.names.lease(rng.randrange(SHARDS)),
        rng.choice(["mine", "mine:abc", "gone:7", ""]),
    )

    def taken_again() -> bool:
        return stage.servers.master.command("GET", lease) not in (None, junk.encode())

    return (yield from _damage(stage, [("SET", lease, junk)], taken_again))


def _member(stage: Stage, rng: random.Random) -> Steps:
    commands = [
        (
            "HSET",
            stage.names.internal("members"),
            "somebody",
            rng.choice(["", "abc", "1:2", "9" * 400]),
        )
    ]

    def gone() -> bool:
        return not stage.servers.master.command(
            "HEXISTS", stage.names.internal("members"), "somebody"
        )

    return (yield from _damage(stage, commands, gone))


def _last(stage: Stage, rng: random.Random) -> Steps:
    """What the shard's last commit was, as the group remembers it."""
    consumer = consumer_of(rng.randrange(SHARDS))
    if not stage.servers.master.command("HEXISTS", stage.names.commits, consumer):
        return False
    return (yield from _field_damaged(stage, stage.names.commits, consumer, rng))


def _mark(stage: Stage, rng: random.Random) -> Steps:
    """Of what cannot be a symbol: it is set aside under another name, until it is removed."""
    shard = rng.randrange(SHARDS)
    marks, lease, name = (
        stage.names.marks(shard),
        stage.names.lease(shard),
        bytes(rng.choices(range(128, 256), k=9)),
    )

    def set_aside() -> bool:
        aside = stage.servers.master.command("HKEYS", stage.names.quarantine)
        return any(found.startswith(f"{consumer_of(shard)} ".encode()) for found in aside)

    bit = yield from _damage(stage, [("HSET", marks, name, "0"), ("DEL", lease)], set_aside)
    yield from _damage(stage, [("HDEL", marks, name)], lambda: not set_aside())
    return bit


DAMAGES: Final = (
    *(_counter, _counter, _counter),
    *(_unfinished, _account, _epoch, _lease, _member, _last, _mark),
)


def _field_damaged(stage: Stage, hash_key: str, field: str, rng: random.Random) -> Steps:
    junk = rng.choice(JUNK)

    def repaired() -> bool:
        return bool(stage.servers.master.command("HGET", hash_key, field) != junk.encode())

    return (yield from _damage(stage, [("HSET", hash_key, field, junk)], repaired))


def _damage(
    stage: Stage, commands: Sequence[Command], repaired: Callable[[], object], **note: str
) -> Steps:
    stage.note(f"bookkeeping: {commands}")
    stage.act(commands, **note)
    return (yield from until_or(repaired))
