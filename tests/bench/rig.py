"""A Redis and one process that reads its input stream, each on its own core.

The process is paused while the stream is fed, so that feeding is not measured.
"""

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.clocks import cpu_s, pin
from tests.bench.market import Market
from tests.support.worker_process import INPUT, WorkerProcess, feed_fields, group_info, wait_until

REDIS_CORE, READER_CORE = 0, 1
# No lease may expire while its worker is paused.
LEASE_S = 600


class WithoutCalculation(WorkerProcess):
    module = "tests.bench.without_calculation"


class BareLoop(WorkerProcess):
    module = "tests.bench.bare_loop"


@dataclass(frozen=True)
class Run:
    """The cost of reading and finishing some closes."""

    closes: int
    elapsed_s: float
    reader_cpu_s: float
    redis_cpu_s: float

    @property
    def closes_per_s(self) -> float:
        return self.closes / self.elapsed_s

    @property
    def reader_us(self) -> float:
        """CPU per close."""
        return self.reader_cpu_s / self.closes * 1e6

    @property
    def redis_us(self) -> float:
        """CPU per close."""
        return self.redis_cpu_s / self.closes * 1e6


@dataclass(frozen=True)
class Rig:
    server: EmbeddedRedis
    client: redis.Redis
    market: Market
    reader: WorkerProcess

    def run(self, closes: int) -> Run:
        """Feed, let the reader continue, and wait until everything is acknowledged."""
        pid = self.reader.process.pid
        self.wait_until_it_waits()
        self.reader.process.send_signal(signal.SIGSTOP)
        feed_fields(self.client, self.market.entries(closes))
        before, redis_before = cpu_s(pid), cpu_s(self.server.pid)
        began_s = time.monotonic()
        self.reader.process.send_signal(signal.SIGCONT)
        self.wait_until_finished()
        elapsed_s = time.monotonic() - began_s
        return Run(closes, elapsed_s, cpu_s(pid) - before, cpu_s(self.server.pid) - redis_before)

    def wait_until_it_waits(self) -> None:
        """Wait until the reader, the only one that does so, blocks for new entries."""
        wait_until(self._it_waits, "the reader waits for entries")

    def wait_until_finished(self) -> None:
        last: Any = self.client.xrevrange(INPUT, count=1)

        def all_is_acknowledged() -> bool:
            group = group_info(self.client)
            return (0, last[0][0]) == (group["pending"], group["last-delivered-id"])

        wait_until(all_is_acknowledged, "everything is acknowledged")

    def _it_waits(self) -> bool:
        info: Any = self.client.info("clients")
        return int(info["blocked_clients"]) == 1


@contextmanager
def rig(
    symbols: int, reader: type[WorkerProcess] = WorkerProcess, **settings: object
) -> Iterator[Rig]:
    """A rig with full windows, whose reader waits for entries."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(EmbeddedRedis())
        client = stack.enter_context(server.client())
        pin(server.pid, REDIS_CORE)
        market = Market(symbols)
        market.fill(client)
        settings = {"start": "replay", "lease_seconds": LEASE_S} | settings
        process = stack.enter_context(reader(server.port, folder, **settings))
        pin(process.process.pid, READER_CORE)
        made = Rig(server, client, market, process)
        try:
            made.wait_until_it_waits()
            yield made
        except AssertionError as error:
            error.add_note(f"the end of the reader's log:\n{process.log[-2_000:]}")
            raise
