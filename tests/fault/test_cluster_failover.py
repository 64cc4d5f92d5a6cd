"""Workers on a Redis Cluster whose nodes die, change places and hand over slots."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketstate.core.theta import merged_theta
from marketstate.schemas.candle import Candle
from marketstate.schemas.partitions import partition_of
from marketstate.worker.engine.changes import ENDS
from marketstate.worker.keys import Keys
from marketstate.worker.settings import Settings
from tests.support.candles import made_candles
from tests.support.redis_cluster import ClusterNode, LocalCluster
from tests.support.worker_process import WorkerProcess, feed, wait_until

PARTITIONS = 3
A, B = 0, 2
"""Two of them, on different nodes."""
CANDLES = made_candles(("ETHUSDT", "BTCUSDT"), 600)


@pytest.fixture
def cluster(any_server_binary: Path) -> Iterator[LocalCluster]:
    with LocalCluster(any_server_binary, replicas=1, node_timeout_ms=1_000) as cluster:
        yield cluster


KEYS = [
    settings.keys
    for settings in Settings(theta=merged_theta(None), partitions=PARTITIONS).each_partition()
]


def candles_of(partition: int) -> list[Candle]:
    return [one for one in CANDLES if partition_of(one.symbol, PARTITIONS) == partition]


def finished(node: ClusterNode, keys: Keys) -> int:
    with node.client() as client:
        counters: Any = client.hgetall(keys.counters)
    return sum(int(value) for name, value in counters.items() if name.decode() in ENDS)


def feed_up_to(cluster: LocalCluster, partition: int, goal: int) -> None:
    """Also what a replica never got before it became the master, as the upstream would."""
    keys = KEYS[partition]
    with cluster.owner(keys.input).client() as client:
        there = client.xlen(keys.input)
        feed(client, candles_of(partition)[there:goal], keys.input)


def wait_until_finished(cluster: LocalCluster, partition: int, goal: int) -> None:
    keys = KEYS[partition]
    wait_until(
        lambda: finished(cluster.owner(keys.input), keys) == goal, f"{goal} of {partition} are done"
    )


def outcome_of(cluster: LocalCluster, partition: int) -> object:
    """Once all of its candles are finished."""
    keys, every = KEYS[partition], len(candles_of(partition))
    feed_up_to(cluster, partition, every)
    wait_until_finished(cluster, partition, every)
    with cluster.owner(keys.input).client() as client:
        groups: Any = client.xinfo_groups(keys.input)
        outputs: Any = client.xrange(keys.output_stream)
        counters: Any = client.hgetall(keys.counters)
        return [fields for _, fields in outputs], counters, groups[0]["pending"]


def test_partitions_follow_their_keys_from_node_to_node(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """G2, G3: a master dies, a replica takes over, a slot moves, each while candles flow."""
    settings = {"redis_url": cluster.url, "partitions": PARTITIONS, "batch": 7, "lease_seconds": 1}
    with WorkerProcess(1, tmp_path, **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards", times=PARTITIONS)
        expected = [outcome_of(cluster, partition) for partition in (A, B)]
        assert worker.terminate() == 0
    for node in cluster.masters:
        node.command("FLUSHALL")
    with WorkerProcess(1, tmp_path, **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards", times=PARTITIONS)
        feed_up_to(cluster, A, 300)
        feed_up_to(cluster, B, 300)
        cluster.owner(KEYS[A].input).kill()
        feed_up_to(cluster, A, 300)
        wait_until_finished(cluster, A, 300)
        wait_until_finished(cluster, B, 300)
        feed_up_to(cluster, B, 500)
        cluster.replica_of(cluster.owner(KEYS[B].input)).command("CLUSTER FAILOVER")
        worker.wait_for_log("p02 Redis is back after")
        feed_up_to(cluster, A, 600)
        cluster.move(KEYS[A].input, cluster.owner(KEYS[B].input))
        assert [outcome_of(cluster, partition) for partition in (A, B)] == expected
        assert worker.terminate() == 0, worker.log
