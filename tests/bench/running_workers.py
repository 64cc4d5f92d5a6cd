"""Several workers on one Redis, with balanced shards."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.support.worker_process import INTERNAL_PREFIX, WorkerProcess, wait_until
from worker.local.redis_server import EmbeddedRedis


@contextmanager
def running_workers(
    server: EmbeddedRedis, count: int, **settings: object
) -> Iterator[list[WorkerProcess]]:
    """Running workers with equal shares of the shards."""
    with ExitStack() as stack, server.client() as client:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = []
        for i in range(count):
            worker = WorkerProcess(server.port, folder, worker_id=f"worker-{i}", **settings)
            workers.append(stack.enter_context(worker))
        wait_until(lambda: _shares_are_even(client, count), "the shares are even")
        yield workers


def holders(client: redis.Redis) -> list[bytes]:
    """The worker of each shard that is held."""
    leases: Any = client.mget([f"{INTERNAL_PREFIX}:lease:{shard:02d}" for shard in range(16)])
    return [token.rpartition(b":")[0] for token in leases if token]


def _shares_are_even(client: redis.Redis, count: int) -> bool:
    found = holders(client)
    shares = [found.count(b"worker-%d" % i) for i in range(count)]
    return sum(shares) == 16 and max(shares) - min(shares) <= 1
