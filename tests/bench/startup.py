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
from typing import Any, Final

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.clocks import in_turns
from tests.bench.market import Market
from tests.bench.report import Row
from tests.support.worker_process import OUTPUT, WorkerProcess, feed_fields, wait_until

Times = dict[str, float]
"""Seconds, by what had happened then."""

SYMBOLS: Final = (0, 600, 10_000)
TURNS: Final = 5
IMPORTS: Final = {
    "python alone": "pass",
    "python and the worker's imports": "import marketstate.worker.commands.worker",
    "python and numpy": "import numpy",
    "python and scipy.stats, which the worker does not import": "import scipy.stats",
}


def startup(quick: bool) -> list[Row]:
    """Seconds from the start of a process, with so many full windows in Redis: until the worker
    holds all shards, until it has published the state of a candle that waits for it, and until it
    has loaded all windows; and until Python has imported some packages.
    """
    numbers, turns = (SYMBOLS[:1], 1) if quick else (SYMBOLS, TURNS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways: dict[str, Callable[[], Times]] = {}
        for number in numbers:
            server = stack.enter_context(EmbeddedRedis())
            client = stack.enter_context(server.client())
            market = Market(number)
            market.fill(client)
            ways[str(number)] = partial(_started, server, client, market, folder)
        ways |= {name: partial(_imported, name, code) for name, code in IMPORTS.items()}
        found = in_turns(ways, turns)
    return [
        {"until": name, "p50_s": statistics.median(times_s), "max_s": max(times_s)}
        for several in found.values()
        for name in several[0]
        for times_s in [[times[name] for times in several]]
    ]


def _started(server: EmbeddedRedis, client: redis.Redis, market: Market, folder: Path) -> Times:
    symbols = len(market.symbols)
    client.config_resetstat()
    client.delete(OUTPUT)
    feed_fields(client, market.entries(min(symbols, 1)))
    began_s = time.monotonic()
    with WorkerProcess(server.port, folder, start="replay") as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        times_s = {f"all shards are held, {symbols:,} symbols": time.monotonic() - began_s}
        if symbols:
            wait_until(lambda: client.xlen(OUTPUT), "a state is published")
            times_s[f"a state is published, {symbols:,} symbols"] = time.monotonic() - began_s
            wait_until(lambda: _windows_read(client) >= symbols, "all windows are loaded")
            times_s[f"all windows are loaded, {symbols:,} symbols"] = time.monotonic() - began_s
        worker.terminate()
    return times_s


def _windows_read(client: redis.Redis) -> int:
    found: Any = client.info("commandstats")
    return int(found.get("cmdstat_lrange", {}).get("calls", 0))


def _imported(name: str, code: str) -> Times:
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return {name: time.monotonic() - began_s}
