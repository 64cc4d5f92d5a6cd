"""How long the shards of a worker that ends are without a holder."""

import random
import signal
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.report import Row
from tests.bench.running_workers import holders
from tests.support.worker_process import WorkerProcess, wait_until

LEASE_S: Final = 3
TIMES: Final = 12


def takeover(quick: bool) -> list[Row]:
    """Seconds from the end of one of three workers, by SIGKILL and by SIGTERM, until the others
    hold all shards.
    """
    lease_s, times = (1, 1) if quick else (LEASE_S, TIMES)
    rows: list[Row] = []
    for end in (signal.SIGKILL, signal.SIGTERM):
        took_s = _ends(end, lease_s, times)
        rows.append(
            {
                "by": end.name,
                "lease_s": lease_s,
                "times": times,
                "p50_s": statistics.median(took_s),
                "max_s": max(took_s),
            }
        )
    return rows


def _ends(end: signal.Signals, lease_s: int, times: int) -> list[float]:
    rng = random.Random(1)
    took_s = []
    with EmbeddedRedis() as server, server.client() as client, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        number = 0
        workers: list[WorkerProcess] = []
        for _ in range(times):
            while len(workers) < 3:
                number += 1
                worker = WorkerProcess(
                    server.port, folder, worker_id=f"worker-{number}", lease_seconds=lease_s
                )
                workers.append(stack.enter_context(worker))
            wait_until(lambda: _settled(client, 3), "three have their share")
            victim = workers.pop(rng.randrange(3))
            time.sleep(rng.random())  # to end it at a random age of its lease
            began_s = time.monotonic()
            victim.process.send_signal(end)
            wait_until(lambda: _settled(client, 2), "two hold all shards")
            took_s.append(time.monotonic() - began_s)
            victim.process.wait()
    return took_s


def _settled(client: redis.Redis, count: int) -> bool:
    found = holders(client)
    return len(found) == 16 and len(set(found)) == count
