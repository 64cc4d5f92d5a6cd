"""Redis goes back to older data, and no connection breaks of it.

As when a server is made a replica of one that is behind, and a master again: the leases are the
same in the older data, so a worker that was busy or paused meanwhile finds nothing changed.
"""

import random

from tests.fault.chaos.stage import Stage, Steps, aof_again, until, until_or

SAID = "went back to older data"


def rolled_back_alive(stage: Stage, rng: random.Random) -> Steps:
    cluster, processes = stage.cluster, stage.processes
    noticed = processes.said(SAID)
    behind = cluster.start_replica()
    yield from until(lambda: behind.info()["master_link_status"] == "up", "the replica is in sync")
    behind.command("REPLICAOF", "NO", "ONE")
    yield rng.uniform(0.2, 0.8)
    paused = [worker for worker in processes.able() if rng.random() < 0.8]
    for worker in paused:
        processes.pause(worker)
    stage.note(f"Redis goes back to older data; {len(paused)} workers are paused meanwhile")
    rewound = stage.feeder.rewound
    cluster.master.command("REPLICAOF", "127.0.0.1", behind.port)
    yield from until(
        lambda: cluster.master.info()["master_link_status"] == "up", "the data is back"
    )
    cluster.master.command("REPLICAOF", "NO", "ONE")
    cluster.remove(behind)
    # What is missing is fed again before the workers go on.
    yield from until_or(lambda: stage.feeder.rewound > rewound)
    for worker in paused:
        if worker in processes.workers:
            processes.resume(worker)
    yield from aof_again(stage)
    return processes.said(SAID) > noticed
