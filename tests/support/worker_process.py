"""Real worker processes for tests, and what they have published."""

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from schemas.candle import Candle, encode_envelope

GROUP = "marketstate"
INPUT = "quantum:stream:market.klines"
OUTPUT = "quantum:stream:marketstate"
DEAD = "quantum:stream:marketstate.dead"
INTERNAL_PREFIX = "quantum:marketstate-worker:marketstate"
PATIENCE_S = 60.0


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Fails with `what` if the condition does not become true."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"timed out after {PATIENCE_S:.0f} s waiting until {what}")
        time.sleep(0.01)


class WorkerProcess:
    """`marketstate worker` (or another command) with settings for a Redis on `port`."""

    module = "worker"
    """The module to run."""

    def __init__(self, port: int, folder: Path, *command: str, **settings: object) -> None:
        self.log_path = folder / f"worker-{time.monotonic_ns()}.log"
        variables = {
            f"MARKETSTATE_{name.upper()}": str(value)
            for name, value in ({"redis_port": port} | settings).items()
        }
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MARKETSTATE_") and name != "JOURNAL_STREAM"
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *(command or ("worker",))],
                env=inherited | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for_log(self, text: str, times: int = 1) -> None:
        wait_until(
            lambda: self.log.count(text) >= times or self.process.poll() is not None,
            f"the log says {text!r}:\n{self.log}",
        )
        assert self.log.count(text) >= times, self.log

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def feed(client: redis.Redis, candles: Iterable[Candle], stream: str = INPUT) -> int:
    """Write candles as the upstream publisher does; returns how many."""
    return feed_fields(
        client, [encode_envelope(candle, source="test") for candle in candles], stream
    )


def feed_fields(client: redis.Redis, entries: Iterable[Any], stream: str = INPUT) -> int:
    count = 0
    with client.pipeline(transaction=False) as writes:
        for fields in entries:
            writes.xadd(stream, fields)
            count += 1
        writes.execute()
    return count


def expire_leases(client: redis.Redis) -> None:
    """Expire the leases of dead workers at once, instead of waiting for the lease time."""
    leases = [f"{INTERNAL_PREFIX}:lease:{shard:02d}" for shard in range(16)]
    client.delete(f"{INTERNAL_PREFIX}:members", *leases)


def group_info(client: redis.Redis) -> dict[str, Any]:
    groups: Any = client.xinfo_groups(INPUT)
    return next((group for group in groups if group["name"] == GROUP.encode()), {})


def counters(client: redis.Redis) -> dict[str, int]:
    found: Any = client.hgetall(f"{INTERNAL_PREFIX}:counters")
    return {name.decode(): int(value) for name, value in found.items()}


def finished(client: redis.Redis) -> int:
    """How many entries are finished, in whatever way."""
    ends = ("applied", "ignored", "duplicate", "late", "dead", "lost")
    return sum(count for name, count in counters(client).items() if name in ends)


def wait_until_finished(client: redis.Redis, entries: int) -> None:
    wait_until(lambda: finished(client) >= entries, f"{entries} entries are finished")
    assert finished(client) == entries


def published(client: redis.Redis) -> dict[str, list[dict[bytes, bytes]]]:
    """The output stream's entries by symbol, in order, without ids."""
    by_symbol: dict[str, list[dict[bytes, bytes]]] = defaultdict(list)
    entries: Any = client.xrange(OUTPUT)
    for _, fields in entries:
        by_symbol[fields[b"symbol"].decode()].append(fields)
    return dict(by_symbol)


def dead_letters(client: redis.Redis) -> list[dict[bytes, bytes]]:
    entries: Any = client.xrange(DEAD)
    return [fields for _, fields in entries]
