"""Recordings and replays in tests: running commands, and the data of a replay in Redis."""

import contextlib
import io
import json
import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import interval_stream
from marketstate.worker.cli import main
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from tests.support.candles import made_candles
from tests.support.worker_process import values

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
# Windows so short that a few candles fill them: nine are needed, twelve kept.
SMALL = {
    "vol": {"window": 8},
    "trend": {"windows": [4, 8], "weights": [0.5, 0.5]},
    "regime": {"window": 8, "vr_k": 2},
}


def small(folder: Path) -> dict[str, object]:
    """Settings with short windows."""
    theta_file = folder / "theta.json"
    theta_file.write_text(json.dumps(SMALL))
    return {"theta_file": theta_file, "window_size": 12}


def run(
    server: EmbeddedRedis, folder: Path, *command: object, **settings: object
) -> tuple[int, str]:
    """Run a command in this process, which saves the start-up time; its exit code and output."""
    given = {"redis_port": server.port} | small(folder) | settings
    variables = {f"MARKETSTATE_{name.upper()}": str(value) for name, value in given.items()}
    said = io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with (
            patch.dict(os.environ, variables),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            code = main([str(word) for word in command])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code, said.getvalue()


def add_raw(client: redis.Redis, stream: str, entry_id: str, *fields: str | bytes) -> None:
    """Add an entry in which a name may occur twice: redis-py's own method takes a dict."""
    raw: Any = client
    raw.execute_command("XADD", stream, entry_id, *fields)


def dumps(client: redis.Redis) -> dict[bytes, Any]:
    """Every key with its value, as bytes."""
    keys: Any = client.keys()
    return values(client, sorted(keys))


def stream_of(namespace: str, *, output: bool = False) -> str:
    settings = settings_from({}, namespace=namespace)
    return settings.output_stream if output else settings.keys.input


def states_of(
    client: redis.Redis, namespace: str, longer_interval: str = ""
) -> dict[bytes, list[bytes]]:
    """The records a replay has published, by symbol, in order."""
    by_symbol: dict[bytes, list[bytes]] = defaultdict(list)
    stream = stream_of(namespace, output=True)
    if longer_interval:
        stream = interval_stream(stream, longer_interval)
    entries: Any = client.xrange(stream)
    for _, fields in entries:
        by_symbol[fields[b"symbol"]].append(fields[b"record"])
    return dict(by_symbol)


def write_csv(folder: Path, symbol: str, candles: list[Candle]) -> Path:
    """In Binance's format: 12 columns, no header line."""
    path = folder / f"{symbol}-1m-2025-05.csv"
    path.write_text("".join(binance_row(one) for one in candles if one.symbol == symbol))
    return path


def binance_row(one: Candle) -> str:
    prices = f"{one.open},{one.high},{one.low},{one.close},{one.volume}"
    return f"{one.open_time},{prices},{one.close_time},100.0,7,50.0,50.0,0\n"


def candle_folder(folder: Path, count: int) -> Path:
    """A file per symbol, with generated candles."""
    made = folder / "candles"
    made.mkdir()
    candles = made_candles(SYMBOLS, count)
    for symbol in SYMBOLS:
        write_csv(made, symbol, candles)
    return made
