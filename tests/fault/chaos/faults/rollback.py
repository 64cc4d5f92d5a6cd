"""Redis goes back to older data, and no connection breaks.

As when a server is made a replica of one that is behind, and a master again; or when a virtual
machine goes back to a snapshot, which sets back its clock too. So leases are as they were: a worker
that was busy or paused meanwhile finds nothing changed, except what it has already finished.
"""

import random
import time
from collections.abc import Generator
from typing import Final

from tests.fault.chaos.stage import Stage, Steps, aof_again, until, until_or
from tests.fault.chaos.workers import Worker

SAID: Final = "is back at older data"
TO_CATCH_ONE_S: Final = 2.0
ARRIVES_S: Final = 0.02
"""What a worker has sent before it was paused."""


def rolled_back_alive(stage: Stage, rng: random.Random) -> Steps:
    one, processes = stage.one_server, stage.processes
    noticed = processes.said(SAID)
    behind = one.start_replica()
    yield from until(lambda: behind.info()["master_link_status"] == "up", "the replica is in sync")
    behind.command("REPLICAOF", "NO", "ONE")
    began_s = time.monotonic()
    yield rng.uniform(0.1, 0.5)
    paused = yield from _paused_at_work(stage)
    stage.note(f"Redis goes back to older data; paused meanwhile: {[w.name for w in paused]}")
    one.master.command("REPLICAOF", "127.0.0.1", behind.port)
    yield from until(lambda: one.master.info()["master_link_status"] == "up", "the data is back")
    one.master.clock.set(began_s - time.monotonic())
    one.master.command("REPLICAOF", "NO", "ONE")
    one.remove(behind)
    for worker in paused:
        if worker in processes.workers:
            processes.resume(worker)
    bit = yield from until_or(lambda: processes.said(SAID) > noticed)
    one.master.clock.set(0.0)
    yield from aof_again(stage)
    return bit


def _paused_at_work(stage: Stage) -> Generator[float, None, list[Worker]]:
    """Workers that do not wait inside Redis, which cuts the connections of those that do."""
    processes, paused = stage.processes, list[Worker]()
    give_up_s = time.monotonic() + TO_CATCH_ONE_S
    while not paused and time.monotonic() < give_up_s:
        paused = processes.able()
        for worker in paused:
            processes.pause(worker)
        yield ARRIVES_S
        for worker in [worker for worker in paused if worker.name in _waiting(stage)]:
            processes.resume(worker)
            paused.remove(worker)
    return paused


def _waiting(stage: Stage) -> set[str]:
    with stage.client() as client:
        return {
            one["name"].removeprefix("marketstate-")
            for one in client.client_list()
            if "b" in one["flags"]
        }
