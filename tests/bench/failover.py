"""How long a partition is not served when the master with its keys dies."""

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from redis.crc import key_slot

from marketstate.core.theta import merged_theta
from marketstate.worker.keys import Keys
from marketstate.worker.settings import Settings
from tests.bench.report import Row
from tests.support.cluster_nodes import is_well, serves
from tests.support.redis_cluster import ClusterNode, LocalCluster
from tests.support.worker_process import WorkerProcess, wait_until

NODE_TIMEOUT_MS: Final = 1_000
PARTITIONS: Final = 3
WORKERS: Final = 3
LEASE_S: Final = 3
TIMES: Final = 8
KEYS: Final = Settings(theta=merged_theta(None), partitions=PARTITIONS).of_partition(0).keys


def failover(quick: bool) -> list[Row]:
    """Seconds until a replica is the master, and from then until all shards of the partition are
    leased again, by workers that have loaded them from there.
    """
    lease_s, times, workers = (1, 1, 1) if quick else (LEASE_S, TIMES, WORKERS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(LocalCluster(replicas=1, node_timeout_ms=NODE_TIMEOUT_MS))
        given = {"redis_url": cluster.url, "partitions": PARTITIONS, "lease_seconds": lease_s}
        for number in range(workers):
            name = f"worker-{number}"
            stack.enter_context(WorkerProcess(1, folder, worker_id=name, **given))
        found = [_master_dies(cluster) for _ in range(times)]
    to_a_master_s, to_workers_s = zip(*found, strict=True)
    return [
        {
            "node_timeout_s": NODE_TIMEOUT_MS / 1_000,
            "lease_s": lease_s,
            "times": times,
            "new_master_p50_s": statistics.median(to_a_master_s),
            "new_master_max_s": max(to_a_master_s),
            "served_p50_s": statistics.median(to_workers_s),
            "served_max_s": max(to_workers_s),
        }
    ]


def _master_dies(cluster: LocalCluster) -> tuple[float, float]:
    master, slot = cluster.owner(KEYS.input), key_slot(KEYS.input.encode())
    wait_until(lambda: len(_tokens(master, KEYS)) == 16, "all shards are leased")
    replica, before = cluster.replica_of(master), _tokens(master, KEYS)
    master.kill()
    began_s = time.monotonic()
    wait_until(lambda: serves(replica, slot), "the replica has taken over")
    taken_over_s = time.monotonic()
    wait_until(lambda: len(_tokens(replica, KEYS) - before) == 16, "all shards are leased again")
    served_s = time.monotonic()
    master.start()
    wait_until(lambda: all(map(is_well, cluster.nodes)), "the cluster is well")
    return taken_over_s - began_s, served_s - taken_over_s


def _tokens(node: ClusterNode, keys: Keys) -> set[bytes]:
    return {token for token in node.command("MGET", *map(keys.lease, range(16))) if token}
