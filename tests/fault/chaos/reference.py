"""The settings of the workers in a run, and what a single undisturbed worker publishes."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import redis

from tests.fault.chaos import history as histories
from tests.fault.chaos.breakages import copy_code
from tests.fault.chaos.faults import LEASE_S
from tests.fault.chaos.history import Entry, History, as_bytes
from tests.fault.chaos.names import INPUT, OUTPUT
from tests.fault.chaos.servers import HarnessTrouble, RedisServer, open_client
from tests.fault.chaos.workers import WorkerProcesses
from tests.support.worker_process import finished

SMALL_THETA: Final = {
    "vol": {"window": 16},
    "trend": {"windows": [8, 16], "weights": [0.6, 0.4]},
    "regime": {"window": 16, "vr_k": 3},
}
WINDOW_SIZE: Final = 20
SHARDS: Final = 16
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
        "start": "replay",
        "backfill_keys": "none",
        "lease_seconds": LEASE_S,
        "batch": 50,
        "max_pending": 2_000,
        "output_maxlen": NEVER_TRIMMED,
        "dead_maxlen": NEVER_TRIMMED,
    }


def undisturbed(history: History, binary: Path, folder: Path) -> dict[str, list[str]]:
    """What a single worker publishes for the same entries with the same ids, without faults."""
    folder = folder / "reference"
    folder.mkdir()
    code = copy_code(folder)
    server = RedisServer(binary, folder / "redis")
    server.start("--appendonly", "no")
    complaints: list[str] = []
    settings = worker_settings(folder) | {"redis_port": server.port, "batch": 500}
    processes = WorkerProcesses(code, folder, settings, complaints.append)
    try:
        with open_client(server.port) as client:
            _write_again(client, history.inputs)
            processes.start()
            _work_through(client, processes, len(history.inputs))
            outputs = histories.stream_entries(client, OUTPUT)
            records = histories.records_by_symbol(outputs)
    finally:
        processes.kill_all()
        server.kill()
    if complaints:
        raise HarnessTrouble(f"the undisturbed worker failed: {complaints}")
    return {symbol: [*map(histories.digest, texts)] for symbol, texts in records.items()}


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
                writes.xadd(INPUT, raw, id=entry_id)
            writes.execute()
