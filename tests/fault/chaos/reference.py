"""The settings of the workers in a run, and what a single undisturbed worker publishes."""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import redis

from marketstate.core.theta import merged_theta
from tests.fault.chaos import history as histories
from tests.fault.chaos.breakages import copy_code
from tests.fault.chaos.clock import Clock
from tests.fault.chaos.entries import MOST_AHEAD_S
from tests.fault.chaos.expected import expected_of
from tests.fault.chaos.faults.retirement import RETIRE_AFTER, RETIRE_AFTER_MS
from tests.fault.chaos.history import Entry, History, as_bytes, id_of
from tests.fault.chaos.names import CACHE_PATTERN, SHARDS, Names
from tests.fault.chaos.servers import WORKERS_PASSWORD, WORKERS_USER, RedisServer, open_client
from tests.fault.chaos.stage import LEASE_S
from tests.fault.chaos.trouble import HarnessTrouble
from tests.fault.chaos.workers import WorkerProcesses
from tests.support.worker_process import finished

SMALL_THETA: Final = {
    "vol": {"window": 16},
    "trend": {"windows": [8, 16], "weights": [0.6, 0.4]},
    "regime": {"window": 16, "vr_k": 3},
}
WINDOW_SIZE: Final = 20
NEVER_TRIMMED: Final = 10**9
STANDSTILL_S: Final = 30.0
ENTRIES_PER_WRITE: Final = 1_000


def worker_settings(folder: Path) -> dict[str, object]:
    """Small batches make many commits. With a small theta, nearly every candle is emitted, and the
    oracle is fast enough to recompute them all.
    """
    theta_file = folder / "theta.json"
    theta_file.write_text(json.dumps(SMALL_THETA))
    return {
        "theta_file": theta_file,
        "window_size": WINDOW_SIZE,
        "shards": SHARDS,
        "start": "new",
        "backfill_keys": CACHE_PATTERN,
        "max_ahead": MOST_AHEAD_S,
        "retire_after": RETIRE_AFTER,
        "redis_username": WORKERS_USER,
        "redis_password": WORKERS_PASSWORD,
        "lease_seconds": LEASE_S,
        "batch": 50,
        "max_pending": 2_000,
        "output_maxlen": NEVER_TRIMMED,
        "dead_maxlen": NEVER_TRIMMED,
    }


def judged_by(names: Names | None = None, **more: Any) -> dict[str, Any]:
    """What the checker must know of the settings; `more` adds to it."""
    return {
        "theta": merged_theta(SMALL_THETA),
        "window_size": WINDOW_SIZE,
        "publish_interval_ms": 60_000,
        "interval": "1m",
        "interval_ms": 60_000,
        "max_ahead_ms": 60_000,
        "retire_after_ms": RETIRE_AFTER_MS,
        "input": (names or Names()).input,
        "bridged": False,
        "start_id": "0-0",
    } | more


def undisturbed(
    history: History, binary: Path, folder: Path, clock_library: Path
) -> dict[str, dict[str, str]]:
    """What a single worker publishes for the same entries with the same ids, without faults.

    It gets only those that are for the group, and not those of symbols that were set aside.
    """
    folder = Path(tempfile.mkdtemp(prefix="reference-", dir=folder))
    code = copy_code(folder)
    clock = Clock(clock_library, folder / "redis.clock")
    server = RedisServer(binary, folder / "redis", clock)
    server.start("--appendonly", "no")
    complaints: list[str] = []
    settings = worker_settings(folder) | {"redis_port": server.port, "batch": 500}
    settings["start"] = "replay"
    processes = WorkerProcesses(code, folder, clock_library, settings, complaints.append)
    set_aside, start = expected_of(history).quarantined, id_of(history.settings["start_id"])
    inputs = [
        entry for entry in history.inputs if id_of(entry[0]) > start and entry[0] not in set_aside
    ]
    try:
        with open_client(server.port) as client:
            _write_again(client, inputs)
            processes.start()
            _work_through(client, processes, len(inputs))
            published = histories.digests(histories.stream_entries(client, Names().output))
    finally:
        processes.kill_all()
        server.kill()
    if complaints:
        raise HarnessTrouble(f"the undisturbed worker failed: {complaints}")
    return published


def _work_through(client: redis.Redis, processes: WorkerProcesses, entries: int) -> None:
    done, moved_s = -1, time.monotonic()
    while (now_done := finished(client)) < entries:
        processes.watch()
        if now_done != done:
            done, moved_s = now_done, time.monotonic()
        if time.monotonic() > moved_s + STANDSTILL_S:
            raise HarnessTrouble(f"the undisturbed worker is stuck at {done} of {entries}")
        time.sleep(0.05)


def _write_again(client: redis.Redis, inputs: Sequence[Entry]) -> None:
    for first in range(0, len(inputs), ENTRIES_PER_WRITE):
        with client.pipeline(transaction=False) as writes:
            for entry_id, fields in inputs[first : first + ENTRIES_PER_WRITE]:
                raw: Any = {as_bytes(name): as_bytes(text) for name, text in fields.items()}
                writes.xadd(Names().input, raw, id=entry_id)
            writes.execute()
