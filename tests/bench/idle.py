"""What idle workers cost."""

import time
from typing import Any, Final

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.clocks import cpu_s
from tests.bench.report import Row
from tests.bench.running_workers import running_workers

# Workers, and partitions; without partitions, there is one group.
CASES: Final = ((1, None), (8, None), (8, 16))
# After this time, each worker has renewed its leases once and is in its steady state.
SETTLE_S: Final = 4
IDLE_S: Final = 10


def idle(quick: bool) -> list[Row]:
    """Commands per second that Redis executes for idle workers, including those in scripts, and
    the CPU of each worker.
    """
    cases, settle_s, idle_s = (CASES[:1], 0, 1) if quick else (CASES, SETTLE_S, IDLE_S)
    rows: list[Row] = []
    for count, partitions in cases:
        with (
            EmbeddedRedis() as server,
            server.client() as client,
            running_workers(server, count, partitions) as workers,
        ):
            pids = [worker.process.pid for worker in workers]
            time.sleep(settle_s)
            before, commands = sum(map(cpu_s, pids)), _commands(client)
            time.sleep(idle_s)
            rows.append(
                {
                    "idle_workers": count,
                    "partitions": partitions or 0,
                    "commands_per_s": (_commands(client) - commands) / idle_s,
                    "cpu_percent_each": (sum(map(cpu_s, pids)) - before) / idle_s / count * 100,
                }
            )
    return rows


def _commands(client: redis.Redis) -> int:
    info: Any = client.info("stats")
    return int(info["total_commands_processed"])
