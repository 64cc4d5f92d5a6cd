"""How long a worker takes to start, and how much of that is imports."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.clocks import in_turns
from tests.bench.market import Market
from tests.bench.report import Row
from tests.support.worker_process import WorkerProcess

SYMBOLS: Final = (0, 600, 10_000)
TURNS: Final = 5
IMPORTS: Final = {
    "python alone": "pass",
    "python and the worker's imports": "import marketstate.worker.commands.worker",
    "python and numpy": "import numpy",
    "python and scipy.stats, which the worker does not import": "import scipy.stats",
}


def startup(quick: bool) -> list[Row]:
    """Seconds from the start of a process: until the worker holds all shards and reads, with this
    many full windows to load; and until Python has imported some packages.
    """
    numbers, turns = (SYMBOLS[:1], 1) if quick else (SYMBOLS, TURNS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways: dict[str, Callable[[], float]] = {}
        for number in numbers:
            server = stack.enter_context(EmbeddedRedis())
            with server.client() as client:
                Market(number).fill(client)
            ways[f"worker reads, {number:,} symbols"] = partial(_until_it_reads, server, folder)
        ways |= {name: partial(_until_it_ends, code) for name, code in IMPORTS.items()}
        found = in_turns(ways, turns)
    return [
        {"until": name, "p50_s": statistics.median(times_s), "max_s": max(times_s)}
        for name, times_s in found.items()
    ]


def _until_it_reads(server: EmbeddedRedis, folder: Path) -> float:
    began_s = time.monotonic()
    with WorkerProcess(server.port, folder) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        took_s = time.monotonic() - began_s
        worker.terminate()
    return took_s


def _until_it_ends(code: str) -> float:
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - began_s
