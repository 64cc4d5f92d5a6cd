"""The table of faults. Each is a generator: the code before a `yield` causes the fault, the code
after it undoes it, and it yields the number of seconds in between.
"""

import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import redis

from tests.fault.chaos.cluster import Cluster
from tests.fault.chaos.names import GROUP, INPUT
from tests.fault.chaos.proxy import Mischief, Proxy
from tests.fault.chaos.servers import HarnessTrouble, RedisServer
from tests.fault.chaos.workers import Worker, WorkerProcesses

LEASE_S: Final = 1.0
POLL_S: Final = 0.05
LONGEST_STEP_S: Final = 60.0
A_COMMIT: Final = 12_000
"""Bytes; no other request of a worker is as large, not even one that loads a script."""
EXTRA_WORKERS: Final = 2


@dataclass
class Stage:
    """What faults act on; `note` writes to the fault log."""

    cluster: Cluster
    processes: WorkerProcesses
    workers: int
    shards: int
    note: Callable[[str], None]
    complain: Callable[[str], None]


Steps = Iterator[float]
Lane = Literal["worker", "network", "redis", "everything"]
"""`worker` and `network` faults overlap with all but `everything`. There is one `redis` fault at a
time, because it needs a running Redis. `everything` is alone.
"""


def kill(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from _some_worker(stage, rng, leaving=True)
    stage.note(f"SIGKILL {worker.name}")
    stage.processes.kill(worker)
    yield rng.uniform(0, 2 * LEASE_S)
    stage.note(f"started {stage.processes.start().name}")


def terminate(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from _some_worker(stage, rng, leaving=True)
    stage.note(f"SIGTERM {worker.name}")
    stage.processes.terminate(worker)
    yield rng.uniform(0, 2 * LEASE_S)
    stage.note(f"started {stage.processes.start().name}")


def pause(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from _some_worker(stage, rng)
    stage.note(f"SIGSTOP {worker.name}")
    stage.processes.pause(worker)
    yield LEASE_S * rng.uniform(1.2, 3)
    stage.note(f"SIGCONT {worker.name}")
    stage.processes.resume(worker)


def another_worker(stage: Stage, rng: random.Random) -> Steps:
    yield from _until(lambda: stage.processes.size < stage.workers + EXTRA_WORKERS, "there is room")
    stage.note(f"one more: {stage.processes.start().name}")
    yield rng.uniform(2, 4)
    worker = yield from _some_worker(stage, rng)
    stage.note(f"one less: {worker.name}")
    stage.processes.terminate(worker)


def one_worker_less(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from _some_worker(stage, rng, leaving=True)
    stage.note(f"one less: {worker.name}")
    stage.processes.terminate(worker)
    yield rng.uniform(2, 4)
    stage.note(f"one more: {stage.processes.start().name}")


def redis_killed_with_aof(stage: Stage, rng: random.Random) -> Steps:
    master = stage.cluster.master
    fsync = rng.choice(["always", "everysec"])
    master.command("CONFIG", "SET", "appendfsync", fsync)
    yield rng.uniform(0, 0.5)
    stage.note(f"Redis killed, to come back from its AOF ({fsync})")
    master.kill()
    yield rng.choice([0.0, rng.uniform(0, 1.5)])
    master.start_from_aof()


def redis_back_from_old_snapshot(stage: Stage, rng: random.Random) -> Steps:
    stage.cluster.master.command("SAVE")
    yield rng.uniform(0.3, 1.2)
    stage.note("Redis killed, to come back from a snapshot that is behind")
    yield from _back_from_snapshot(stage.cluster.master, rng)


def full_redis(stage: Stage, rng: random.Random) -> Steps:
    master = stage.cluster.master
    room = rng.choice([0, rng.randint(0, 2_000_000)])
    stage.note(f"Redis is full except for {room} bytes")
    master.command("CONFIG", "SET", "maxmemory", max(1, master.info()["used_memory"] + room))
    yield rng.uniform(0.5, 2.5)
    stage.note("Redis has room again")
    master.command("CONFIG", "SET", "maxmemory", 0)


def failover(stage: Stage, rng: random.Random) -> Steps:
    cluster = stage.cluster
    replica = cluster.start_replica()
    yield from _until(
        lambda: replica.info()["master_link_status"] == "up", "the replica is in sync"
    )
    yield rng.uniform(0.1, 0.6)
    stage.note("master killed")
    cluster.master.kill()
    yield rng.uniform(0, 0.5)
    if rng.random() < 0.5:
        stage.note("the address leads to a replica that is still read-only")
        cluster.switch_to(replica)
        yield rng.uniform(0.2, 1)
    stage.note("replica promoted")
    replica.command("REPLICAOF", "NO", "ONE")
    cluster.switch_to(replica)
    yield from _aof_again(replica)


def scripts_flushed(stage: Stage, rng: random.Random) -> Steps:
    stage.note("SCRIPT FLUSH")
    for _ in range(rng.randint(1, 5)):
        stage.cluster.master.command("SCRIPT", "FLUSH")
        yield rng.uniform(0, 0.02)


def consumer_deleted(stage: Stage, rng: random.Random) -> Steps:
    consumer = rng.choice([f"shard-{rng.randrange(stage.shards):02d}", _busiest(stage)])
    pending = stage.cluster.master.command("XGROUP", "DELCONSUMER", INPUT, GROUP, consumer)
    stage.note(f"{consumer} deleted with {pending} pending entries")
    yield 0


def group_deleted(stage: Stage, rng: random.Random) -> Steps:
    """All workers must stop; then Redis is restored, as deploy/README.md tells you to do."""
    master, processes = stage.cluster.master, stage.processes
    master.command("SAVE")
    stage.note("group deleted")
    processes.group_is_deleted = True
    master.command("XGROUP", "DESTROY", INPUT, GROUP)
    yield from _until(lambda: not processes.workers, "all workers have stopped")
    if master.command("XINFO", "GROUPS", INPUT):
        stage.complain("a worker has created the deleted group again")
    stage.note("Redis restored from the earlier snapshot")
    yield from _back_from_snapshot(master, rng)
    processes.group_is_deleted = False
    for _ in range(stage.workers):
        processes.start()
    yield from _until(processes.able, "the workers are back")


def cut(stage: Stage, rng: random.Random) -> Steps:
    direction: Any = rng.choice(["request", "reply"])
    at_least = rng.choice([1, A_COMMIT if direction == "request" else 500])
    yield from _mischief(
        stage, Mischief("cut", direction, at_least=at_least, part=rng.choice([0, 1, rng.random()]))
    )


def delay(stage: Stage, rng: random.Random) -> Steps:
    direction: Any = rng.choice(["request", "reply"])
    # Some delays are longer than the worker waits.
    seconds = rng.choice([0.1, 0.5, 1.5, 1.5, 2.5, 6.5])
    yield from _mischief(stage, Mischief("delay", direction, seconds=seconds))


def lost_reply(stage: Stage, rng: random.Random) -> Steps:
    at_least = rng.choice([1, A_COMMIT, A_COMMIT])
    yield from _mischief(stage, Mischief("lost reply", at_least=at_least))


def late_request(stage: Stage, rng: random.Random) -> Steps:
    at_least, seconds = rng.choice([1, A_COMMIT, A_COMMIT]), rng.uniform(0, 2)
    yield from _mischief(stage, Mischief("late request", at_least=at_least, seconds=seconds))


class Fault(NamedTuple):
    name: str
    weight: int
    lane: Lane
    steps: Callable[[Stage, random.Random], Steps]


TABLE: Final = {
    fault.name: fault
    for fault in (
        Fault("kill", 8, "worker", kill),
        Fault("terminate", 5, "worker", terminate),
        Fault("pause", 12, "worker", pause),
        Fault("another worker", 4, "worker", another_worker),
        Fault("one worker less", 4, "worker", one_worker_less),
        Fault("redis killed, AOF", 5, "redis", redis_killed_with_aof),
        Fault("redis rolled back", 4, "redis", redis_back_from_old_snapshot),
        Fault("redis full", 5, "redis", full_redis),
        Fault("failover", 4, "redis", failover),
        Fault("scripts flushed", 5, "redis", scripts_flushed),
        Fault("consumer deleted", 4, "redis", consumer_deleted),
        Fault("group deleted", 2, "everything", group_deleted),
        Fault("connection cut", 12, "network", cut),
        Fault("connection delayed", 8, "network", delay),
        Fault("reply lost", 12, "network", lost_reply),
        Fault("request late", 12, "network", late_request),
    )
}


def _some_worker(
    stage: Stage, rng: random.Random, *, leaving: bool = False
) -> Generator[float, None, Worker]:
    """A worker for a fault, once one can be spared."""

    def can_be_spared() -> bool:
        enough = stage.processes.size >= stage.workers if leaving else True
        return enough and len(stage.processes.able()) > 1

    yield from _until(can_be_spared, "a worker can be spared")
    worker: Worker = rng.choice(stage.processes.able())
    return worker


def _busiest(stage: Stage) -> str:
    consumers = stage.cluster.master.command("XINFO CONSUMERS", INPUT, GROUP)
    busiest: bytes = max(consumers, key=lambda consumer: int(consumer["pending"]))["name"]
    return busiest.decode()


def _mischief(stage: Stage, mischief: Mischief) -> Steps:
    proxy: Proxy = stage.cluster.proxy
    proxy.arm(mischief)
    give_up_s = time.monotonic() + 2
    while proxy.is_armed(mischief) and time.monotonic() < give_up_s:
        yield POLL_S
    missed = ", but no data came" if proxy.disarm(mischief) else ""
    stage.note(f"{mischief}{missed}")


def _back_from_snapshot(master: RedisServer, rng: random.Random) -> Steps:
    master.kill()
    yield rng.choice([0.0, rng.uniform(0, 1.5)])
    master.start_from_snapshot()
    yield rng.uniform(0, 0.5)
    yield from _aof_again(master)


def _aof_again(master: RedisServer) -> Steps:
    master.begin_aof()
    yield from _until(master.aof_is_complete, "the AOF is complete")


def _until(condition: Callable[[], Any], what: str) -> Steps:
    give_up_s = time.monotonic() + LONGEST_STEP_S
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        if time.monotonic() > give_up_s:
            raise HarnessTrouble(f"timed out after {LONGEST_STEP_S:.0f} s waiting until {what}")
        yield POLL_S
