"""Several workers on one Redis, with balanced shards."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.partitioned import groups
from tests.support.worker_process import WorkerProcess, wait_until


@contextmanager
def running_workers(
    server: EmbeddedRedis, count: int, partitions: int | None = None, **settings: object
) -> Iterator[list[WorkerProcess]]:
    """Running workers with equal shares of the shards."""
    settings |= {"partitions": partitions} if partitions else {}
    with ExitStack() as stack, server.client() as client:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = []
        for i in range(count):
            worker = WorkerProcess(server.port, folder, worker_id=f"worker-{i}", **settings)
            workers.append(stack.enter_context(worker))
        wait_until(lambda: _shares_are_even(client, count, partitions), "the shares are even")
        yield workers


def holders(client: redis.Redis, partitions: int | None = None) -> list[bytes]:
    """The worker of each shard that is held, in all partitions."""
    every = groups(partitions)
    leases: Any = client.mget([one.keys.lease(i) for one in every for i in range(one.shards)])
    return [token.rpartition(b":")[0] for token in leases if token]


def _shares_are_even(client: redis.Redis, count: int, partitions: int | None) -> bool:
    found = holders(client, partitions)
    shares = [found.count(b"worker-%d" % i) for i in range(count)]
    return sum(shares) == 16 * (partitions or 1) and max(shares) - min(shares) <= 1
