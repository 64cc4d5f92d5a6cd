"""`marketstate demo`: a private Redis, a worker, candles, and a table of what is published.

Everything lives in temporary folders and ends with the demo. The demo ignores any Redis that
already runs, and all MARKETSTATE_* variables.
"""

import argparse
import math
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

import redis

from marketstate.schemas.candle import Candle, encode_envelope
from marketstate.schemas.market_state import MarketStateRecord, decode_market_state
from marketstate.worker.commands.options import (
    add_candle_files,
    amount,
    refuse_options_of_files,
    said,
)
from marketstate.worker.commands.state_table import StateTable
from marketstate.worker.files.candles.names import find_files
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.piped import readable_path
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.local.workers import LocalWorker
from marketstate.worker.settings import PREFIX, Settings, settings_from
from marketstate.worker.stop import interrupt_on

# A state needs 257 closes: these are fed at once, and the table starts with the next ones.
STEPS_AT_ONCE: Final = 256
STEP_S: Final = 0.25
KEPT_ENTRIES: Final = 100_000


def add_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--file",
        nargs="+",
        type=readable_path,
        default=[],
        metavar="CSV",
        help="real candles, one file per symbol, such as BTCUSDT-1m.csv.gz; default: synthetic",
    )
    source.add_argument("--data", type=Path, metavar="DIR", help="all candle files in a folder")
    parser.add_argument(
        "--seconds", type=amount, default=math.inf, metavar="N", help="stop after N seconds"
    )
    add_candle_files(parser)


def command(options: argparse.Namespace) -> int:
    files = find_files(options.data) if options.data else options.file
    if not files:
        refuse_options_of_files(options, "--file or --data")
    findings = Findings(skip_bad=options.skip_bad, allow_gaps=True)
    demo(files, options.seconds, said(options), findings)
    return 0


def demo(files: list[Path], seconds: float, given: Said, findings: Findings) -> None:
    """Run until Ctrl-C, for `seconds`, or to the end of the files. Raises WorkerError."""
    interrupt_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    candles = CandleFiles(files, given)
    try:
        with EmbeddedRedis() as server, tempfile.TemporaryDirectory() as folder:
            variables = _variables(candles.interval, server.port)
            settings = settings_from(variables)
            with LocalWorker(variables, Path(folder) / "worker.log") as worker:
                _greet(server, settings, candles.symbols)
                feeder = _FileFeeder(server, settings, candles, findings)
                _show(server, settings, worker, feeder, seconds)
    except KeyboardInterrupt:
        print()
    print("The demo is over. Its Redis, its worker and their folders have been removed.")


def _variables(interval: str, port: int) -> dict[str, str]:
    own = (
        {"SOURCE": "candles", "CANDLE_INTERVAL": interval, "START": "replay"}
        if interval
        else {"SOURCE": "synthetic", "CANDLE_INTERVAL": "1s"}
    )
    common = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port), "PUBLISH_INTERVAL": "1"}
    return {f"{PREFIX}{name}": value for name, value in (common | own).items()}


def _greet(server: EmbeddedRedis, settings: Settings, symbols: list[str]) -> None:
    what = f"candles of {', '.join(symbols)}" if symbols else "synthetic candles, one per second"
    state = settings.keys.state(symbols[0] if symbols else "BTCUSDT")
    print(f"A worker calculates the market state of {what}.")
    print(f"To look into its Redis: redis-cli -p {server.port} HGETALL {state}")
    print("Press Ctrl-C to end the demo.\n", flush=True)


def _show(
    server: EmbeddedRedis,
    settings: Settings,
    worker: LocalWorker,
    feeder: "_FileFeeder",
    seconds: float,
) -> None:
    """A row per state; if many arrive at once, only the newest of each symbol."""
    end_s = time.monotonic() + seconds
    last_id: Any = "0"
    table = StateTable(sys.stdout)
    with server.client() as client:
        while time.monotonic() < end_s:
            worker.check()
            feeder.feed()
            finished = feeder.exhausted and _is_idle(client, settings)
            reply: Any = client.xread({settings.output_stream: last_id}, block=int(STEP_S * 1_000))
            latest: dict[str, MarketStateRecord] = {}
            for entry_id, fields in reply[0][1] if reply else []:
                record = decode_market_state(fields)
                latest[record.symbol] = record
                last_id = entry_id
            for record in latest.values():
                table.add(record)
            if finished and not latest:
                print("All candles in the files have been processed.")
                for line in feeder.findings.report():
                    print(line)
                if last_id == "0":
                    print("No symbol has the 257 closes that a state needs.")
                return


def _is_idle(client: redis.Redis, settings: Settings) -> bool:
    """Whether the group has finished every entry."""
    groups: Any = client.xinfo_groups(settings.keys.input)
    stream: Any = client.xinfo_stream(settings.keys.input)
    return any(
        group["pending"] == 0 and group["last-delivered-id"] == stream["last-generated-id"]
        for group in groups
    )


class _FileFeeder:
    """The upstream publisher for candle files. Synthetic candles are fed by the worker itself."""

    def __init__(
        self, server: EmbeddedRedis, settings: Settings, files: CandleFiles, findings: Findings
    ) -> None:
        self._client = server.client()
        self._stream = settings.keys.input
        self.findings = findings
        candles = (read.candle for read in files.read(self.findings))
        by_time = groupby(candles, key=lambda candle: candle.close_time)
        self._steps: Iterator[list[Candle]] = (list(candles) for _, candles in by_time)
        self._next_step_s = 0.0
        self.exhausted = False
        self._endless = not files.symbols

    def feed(self) -> None:
        now_s = time.monotonic()
        if self._endless or self.exhausted or now_s < self._next_step_s:
            return
        steps = list(islice(self._steps, 1 if self._next_step_s else STEPS_AT_ONCE))
        self.exhausted = not steps
        with self._client.pipeline(transaction=False) as writes:
            for candle in (candle for step in steps for candle in step):
                fields: Any = encode_envelope(candle, source="demo")
                writes.xadd(self._stream, fields, maxlen=KEPT_ENTRIES)
            writes.execute()
        self._next_step_s = now_s + STEP_S
