"""Redis goes away, comes back with older data, is full, or loses what the workers rely on."""

import random
from typing import Final

from tests.fault.chaos.names import GROUP, SHARDS, consumer_of
from tests.fault.chaos.stage import Stage, Steps, aof_again, until, until_or

SAID_WHEN_FULL: Final = "command not allowed when used memory"


def redis_killed_with_aof(stage: Stage, rng: random.Random) -> Steps:
    master = stage.servers.master
    fsync = rng.choice(["always", "everysec"])
    master.command("CONFIG", "SET", "appendfsync", fsync)
    yield rng.uniform(0, 0.5)
    stage.note(f"Redis killed, to come back from its AOF ({fsync})")
    master.kill()
    yield rng.choice([0.0, rng.uniform(0, 1.5)])
    master.start_from_aof()
    return True


def redis_back_from_old_snapshot(stage: Stage, rng: random.Random) -> Steps:
    stage.servers.master.command("SAVE")
    fed = stage.feeder.fed
    yield rng.uniform(0.3, 1.2)
    went_on = stage.feeder.fed > fed
    stage.note("Redis killed, to come back from a snapshot that is behind")
    yield from _back_from_snapshot(stage, rng)
    return went_on


def full_redis(stage: Stage, rng: random.Random) -> Steps:
    master = stage.servers.master
    room = rng.choice([0, rng.randint(0, 500_000)])
    stage.note(f"Redis is full except for {room} bytes")
    refused = stage.processes.said(SAID_WHEN_FULL)
    master.command("CONFIG", "SET", "maxmemory", max(1, master.info()["used_memory"] + room))
    yield rng.uniform(0.5, 2.5)
    stage.note("Redis has room again")
    master.command("CONFIG", "SET", "maxmemory", 0)
    return stage.processes.said(SAID_WHEN_FULL) > refused


def failover(stage: Stage, rng: random.Random) -> Steps:
    one = stage.one_server
    replica = one.start_replica()
    yield from until(lambda: replica.info()["master_link_status"] == "up", "the replica is in sync")
    yield rng.uniform(0.1, 0.6)
    stage.note("master killed")
    one.master.kill()
    yield rng.uniform(0, 0.5)
    if rng.random() < 0.5:
        stage.note("the address leads to a replica that is still read-only")
        one.switch_to(replica)
        yield rng.uniform(0.2, 1)
    stage.note("replica promoted")
    replica.command("REPLICAOF", "NO", "ONE")
    one.switch_to(replica)
    yield from aof_again(stage)
    return True


def scripts_flushed(stage: Stage, rng: random.Random) -> Steps:
    master = stage.servers.master
    stage.note("SCRIPT FLUSH")
    unknown = master.refused("NOSCRIPT")
    for _ in range(rng.randint(1, 5)):
        master.command("SCRIPT", "FLUSH")
        yield rng.uniform(0, 0.02)
    return master.refused("NOSCRIPT") > unknown


def consumer_deleted(stage: Stage, rng: random.Random) -> Steps:
    """Again and again, until one had entries."""
    some = consumer_of(rng.randrange(SHARDS))

    def deleted() -> int:
        consumer = rng.choice([some, busiest(stage)])
        command = ("XGROUP", "DELCONSUMER", stage.names.input, GROUP, consumer)
        pending = int(stage.servers.master.command(*command))
        stage.note(f"{consumer} deleted with {pending} pending entries")
        return pending

    return (yield from until_or(deleted))


def group_deleted(stage: Stage, rng: random.Random) -> Steps:
    """All workers must stop; then Redis is restored, as deploy/README.md tells you to do."""
    master, processes = stage.servers.master, stage.processes
    master.command("SAVE")
    stage.note("group deleted")
    processes.group_is_deleted = True
    master.command("XGROUP", "DESTROY", stage.names.input, GROUP)
    yield from until(lambda: not processes.workers, "all workers have stopped")
    if master.command("XINFO GROUPS", stage.names.input):
        stage.complain("a worker has created the deleted group again")
    stage.note("Redis restored from the earlier snapshot")
    yield from _back_from_snapshot(stage, rng)
    processes.group_is_deleted = False
    for _ in range(stage.workers):
        processes.start()
    yield from until(processes.able, "the workers are back")
    return True


def busiest(stage: Stage) -> str:
    """The consumer with most entries pending."""
    consumers = stage.servers.master.command("XINFO CONSUMERS", stage.names.input, GROUP)
    pending = {one["name"].decode(): int(one["pending"]) for one in consumers}
    return max(pending, key=pending.__getitem__, default=consumer_of(0))


def _back_from_snapshot(stage: Stage, rng: random.Random) -> Steps:
    master = stage.servers.master
    master.kill()
    yield rng.choice([0.0, rng.uniform(0, 1.5)])
    master.start_from_snapshot()
    yield rng.uniform(0, 0.5)
    yield from aof_again(stage)
    return True
