"""What `scripts/bench` measures, on real processes: throughput, takeover and idleness.

CPU seconds are the kernel's own account of a process, so they mean the same on a busy machine.
"""

import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.support.candles import made_candles
from tests.support.worker_process import NAMESPACE, WorkerProcess, feed, finished, wait_until
from worker.embedded import EmbeddedRedis

SYMBOLS = [f"SYM{i}USDT" for i in range(100)]
CANDLES_PER_SYMBOL = 400
KILLS = 50
IDLE_S = 20
LEASE_S = 3


@contextmanager
def crew(server: EmbeddedRedis, count: int, **settings: object) -> Iterator[list[WorkerProcess]]:
    """Running workers among which the shards have settled."""
    with ExitStack() as stack, server.client() as client:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = []
        for i in range(count):
            worker = WorkerProcess(server.port, folder, worker_id=f"worker-{i}", **settings)
            workers.append(stack.enter_context(worker))
        wait_until(lambda: shares_are_even(client, count), "the shares have evened out")
        yield workers


def holders(client: redis.Redis) -> list[bytes]:
    leases: Any = client.mget([f"{NAMESPACE}:lease:{shard:02d}" for shard in range(16)])
    return [token.rpartition(b":")[0] for token in leases if token]


def shares_are_even(client: redis.Redis, count: int) -> bool:
    found = holders(client)
    shares = [found.count(b"worker-%d" % i) for i in range(count)]
    return sum(shares) == 16 and max(shares) - min(shares) <= 1


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def throughput() -> None:
    """Closes per second of one worker, and CPU per close with 1, 2, 4 and 8 workers."""
    candles = made_candles(SYMBOLS, CANDLES_PER_SYMBOL)
    baseline = 0.0
    for count in (1, 2, 4, 8):
        with EmbeddedRedis() as server, server.client() as client, crew(server, count) as workers:
            pids = [server.pid, *(worker.process.pid for worker in workers)]
            feed(client, candles[: len(SYMBOLS) * 256])
            wait_until(lambda: finished(client) == len(SYMBOLS) * 256, "the windows are full")
            before, began_s = sum(map(cpu_s, pids)), time.monotonic()
            feed(client, candles[len(SYMBOLS) * 256 :])
            feeding_s = time.monotonic() - began_s
            wait_until(lambda: finished(client) == len(candles), "all is finished")
            took_s = time.monotonic() - began_s
            closes = len(candles) - len(SYMBOLS) * 256
            cpu_us = (sum(map(cpu_s, pids)) - before) / closes * 1e6
            baseline = baseline or cpu_us
            print(
                f"{count} workers: {closes / took_s:7.0f} closes/s (fed in {feeding_s:.1f} s)   "
                f"CPU per close {cpu_us:6.0f} us, x{cpu_us / baseline:.2f} of one worker's"
            )


def takeover() -> None:
    """Seconds from SIGKILL, and from SIGTERM, of one of three until all shards are held."""
    rng = random.Random(1)
    for name, end in (("SIGKILL", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        took_s = []
        with EmbeddedRedis() as server, server.client() as client, ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            number = 0
            workers: list[WorkerProcess] = []
            for _ in range(KILLS):
                while len(workers) < 3:
                    number += 1
                    worker = WorkerProcess(
                        server.port, folder, worker_id=f"worker-{number}", lease_seconds=LEASE_S
                    )
                    workers.append(stack.enter_context(worker))
                wait_until(lambda: _settled(client, 3), "three have their share")
                victim = workers.pop(rng.randrange(3))
                time.sleep(rng.random())
                began_s = time.monotonic()
                victim.process.send_signal(end)
                wait_until(lambda: _settled(client, 2), "two hold all shards")
                took_s.append(time.monotonic() - began_s)
                victim.process.wait()
        quantiles = statistics.quantiles(took_s, n=100)
        print(
            f"{name} with a lease of {LEASE_S} s, {len(took_s)} times: "
            f"p50 {quantiles[49]:.2f} s  p99 {quantiles[98]:.2f} s  max {max(took_s):.2f} s"
        )


def _settled(client: redis.Redis, count: int) -> bool:
    found = holders(client)
    return len(found) == 16 and len(set(found)) == count


def idle() -> None:
    """Commands a second that Redis carries out for idle workers, those in scripts included."""
    for count in (1, 8):
        with EmbeddedRedis() as server, server.client() as client, crew(server, count) as workers:
            pids = [worker.process.pid for worker in workers]
            time.sleep(LEASE_S)
            before, commands = sum(map(cpu_s, pids)), _commands(client)
            time.sleep(IDLE_S)
            print(
                f"{count} idle workers: {(_commands(client) - commands) / IDLE_S:5.1f} commands/s  "
                f"CPU {(sum(map(cpu_s, pids)) - before) / IDLE_S / count:.2%} each"
            )


def _commands(client: redis.Redis) -> int:
    info: Any = client.info("stats")
    return int(info["total_commands_processed"])


BENCHES: dict[str, Callable[[], None]] = {
    "throughput": throughput,
    "takeover": takeover,
    "idle": idle,
}

if __name__ == "__main__":
    for bench in sys.argv[1:] or BENCHES:
        BENCHES[bench]()
