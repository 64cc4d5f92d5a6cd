"""Real worker processes for tests, and what they have published."""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis

from marketstate.schemas.candle import Candle, encode_envelope
from marketstate.worker.engine.changes import ENDS
from tests.support.processes import PATIENCE_S, Program, environment

GROUP = "marketstate"
INPUT = "quantum:stream:market.klines"
OUTPUT = "quantum:stream:marketstate"
DEAD = "quantum:stream:marketstate.dead"
INTERNAL_PREFIX = "quantum:marketstate-worker:marketstate"


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Fails with `what` if the condition does not become true."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"timed out after {PATIENCE_S:.0f} s waiting until {what}")
        time.sleep(0.01)


class WorkerProcess(Program):
    """`marketstate worker` (or another command) with settings for a Redis on `port`."""

    module = "marketstate.worker"
    """The module to run."""

    def __init__(self, port: int, folder: Path, *command: str, **settings: object) -> None:
        self.log_path = folder / f"worker-{time.monotonic_ns()}.log"
        given: dict[str, object] = {"redis_port": port} | settings
        with self.log_path.open("wb") as log:
            super().__init__(
                [sys.executable, "-m", self.module, *(command or ("worker",))],
                env=environment(**given),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for_log(self, text: str, times: int = 1) -> None:
        try:
            wait_until(
                lambda: self.log.count(text) >= times or self.process.poll() is not None,
                f"the log says {text!r}",
            )
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.log}") from None
        assert self.log.count(text) >= times, self.log


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
    client.unlink(f"{INTERNAL_PREFIX}:members", *leases)


def group_info(client: redis.Redis) -> dict[str, Any]:
    groups: Any = client.xinfo_groups(INPUT)
    return next((group for group in groups if group["name"] == GROUP.encode()), {})


def counters(client: redis.Redis) -> dict[str, int]:
    found: Any = client.hgetall(f"{INTERNAL_PREFIX}:counters")
    return {name.decode(): int(value) for name, value in found.items()}


def finished(client: redis.Redis) -> int:
    """How many entries are finished, in whatever way."""
    return sum(count for name, count in counters(client).items() if name in ENDS)


def wait_until_finished(client: redis.Redis, entries: int) -> None:
    wait_until(lambda: finished(client) >= entries, f"{entries} entries are finished")
    assert finished(client) == entries


def work_through(
    port: int, client: redis.Redis, folder: Path, candles: Sequence[Candle], **settings: object
) -> None:
    """Run one undisturbed worker that processes all of these candles, from its start to its end."""
    with WorkerProcess(port, folder, **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, candles)
        wait_until_finished(client, len(candles))
        assert worker.terminate() == 0


def published(client: redis.Redis, stream: str = OUTPUT) -> dict[str, list[dict[bytes, bytes]]]:
    """The output stream's entries by symbol, in order, without ids."""
    by_symbol: dict[str, list[dict[bytes, bytes]]] = defaultdict(list)
    entries: Any = client.xrange(stream)
    for _, fields in entries:
        by_symbol[fields[b"symbol"].decode()].append(fields)
    return dict(by_symbol)


def dead_letters(client: redis.Redis) -> list[dict[bytes, bytes]]:
    entries: Any = client.xrange(DEAD)
    return [fields for _, fields in entries]


def everything(client: redis.Redis) -> dict[bytes, Any]:
    """All that is in Redis; leases and members, which live by time, left out."""
    keys: Any = client.keys("*")
    return values(client, [key for key in keys if b":lease:" not in key and b":members" not in key])


def values(client: redis.Redis, keys: Iterable[bytes]) -> dict[bytes, Any]:
    """Such that what has not changed is equal, on every server."""
    # Compressed, it may differ.
    client.config_set("rdbcompression", "no")
    return {key: _value(client, key) for key in keys}


def _value(client: redis.Redis, key: bytes) -> Any:
    match client.type(key):
        case b"hash":
            # It may change its order while it is only read.
            return client.hgetall(key)
        case b"stream":
            reply = client.execute_command("XINFO", "STREAM", key, "FULL", "COUNT", 0)  # type: ignore[no-untyped-call]
            return _without_times_of_reading(reply)
        case _:
            return client.dump(key)


def _without_times_of_reading(reply: Any) -> Any:
    """Of consumers: they change when one looks for entries and finds none."""
    if not isinstance(reply, list):
        return reply
    times = (b"seen-time", b"active-time")
    return [
        _without_times_of_reading(each)
        for before, each in pairwise([None, *reply])
        if each not in times and before not in times
    ]


def snapshot(client: redis.Redis) -> dict[bytes, tuple[bytes, int]]:
    """All keys, each with its expiry in ms."""
    keys: Any = client.keys("*")
    return {key: (client.dump(key), max(0, client.pttl(key))) for key in keys}  # type: ignore[misc]


def go_back_to(client: redis.Redis, earlier: dict[bytes, tuple[bytes, int]]) -> None:
    """Redis has older data again, as after a rollback, and nobody's connection has broken."""
    client.flushall()
    for key, (dump, ttl_ms) in earlier.items():
        client.restore(key, ttl_ms, dump)
