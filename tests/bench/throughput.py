"""What additional workers cost."""

import time
from typing import Final

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.clocks import cpu_s
from tests.bench.market import Market
from tests.bench.report import Row
from tests.bench.running_workers import running_workers
from tests.support.worker_process import feed_fields, finished, wait_until

WORKERS: Final = (1, 2, 4, 8)
SYMBOLS: Final = 100
CLOSES: Final = 15_000


def throughput(quick: bool) -> list[Row]:
    """Closes per second, and CPU per close of all processes together, with 1, 2, 4 and 8 workers
    that are fed while they run. x: compared with one worker.
    """
    counts, closes = (WORKERS[:2], 500) if quick else (WORKERS, CLOSES)
    rows = [_row(count, closes) for count in counts]
    alone_us = float(rows[0]["cpu_us_per_close"])
    return [row | {"x_one_worker": float(row["cpu_us_per_close"]) / alone_us} for row in rows]


def _row(count: int, closes: int) -> Row:
    market = Market(SYMBOLS)
    with EmbeddedRedis() as server, server.client() as client:
        market.fill(client)
        entries = market.entries(closes)
        with running_workers(server, count) as workers:
            pids = [server.pid, *(worker.process.pid for worker in workers)]
            before, began_s = sum(map(cpu_s, pids)), time.monotonic()
            feed_fields(client, entries)
            fed_s = time.monotonic() - began_s
            wait_until(lambda: finished(client) == closes, "everything is finished")
            took_s = time.monotonic() - began_s
            cpu_us = (sum(map(cpu_s, pids)) - before) / closes * 1e6
    return {
        "workers": count,
        "closes_per_s": closes / took_s,
        "fed_in_s": fed_s,
        "cpu_us_per_close": cpu_us,
    }
