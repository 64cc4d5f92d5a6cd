"""The pictures of README.md, from synthetic candles: `python -m tests.support.pictures`.

A private Redis and a real worker make the states, `top` and `plot` the pictures. Only the path of a
candle is drawn by hand.
"""

import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image
from rich.console import Console

from marketstate.schemas.candle import Candle
from marketstate.worker.commands.top.feed import Feed
from marketstate.worker.commands.top.screen import UNICODE, Screen
from marketstate.worker.commands.top.selection import Look
from marketstate.worker.engine.synthetic import SYMBOLS, synthetic_candle
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from tests.support.processes import environment
from tests.support.worker_process import WorkerProcess, feed, finished, wait_until

FOLDER: Final = Path(__file__).parents[2] / "worker/commands/pictures"
TOP: Final = FOLDER / "top.svg"
PLOT: Final = FOLDER / "plot.png"
SIZE: Final = (84, 10)
MINUTE_MS: Final = 60_000
LAST_CLOSE_MS: Final = 1_764_122_639_999
EXAMPLE: Final = "EXAMPLE"
"""The symbol of the plot: its price drifts for a while, and comes back to a mean for a while."""
# The returns of whom, how many of them, and a drift per candle.
LEGS: Final = (
    ("SOLUSDT", 560, 0.0),
    ("XRPUSDT", 320, 0.0005),
    ("ETHUSDT", 380, 0.0),
    ("BNBUSDT", 300, -0.0004),
)
CANDLES: Final = sum(count for _, count, _ in LEGS)
STATES_SHOWN: Final = CANDLES - 257
COLOURS: Final = 48
_FONTS_AND_AUTHOR: Final = re.compile(r" *@font-face \{.*?\}\n|<!--.*?-->\n?", re.S)
ARCHIVE: Final = {"start": "replay", "output_maxlen": 1_000_000}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    times_ms = range(LAST_CLOSE_MS - (CANDLES - 1) * MINUTE_MS, LAST_CLOSE_MS + 1, MINUTE_MS)
    candles = [synthetic_candle(name, at, "1m", MINUTE_MS) for at in times_ms for name in SYMBOLS]
    candles += example(times_ms)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedRedis() as server,
        server.client() as client,
    ):
        feed(client, candles)
        with WorkerProcess(server.port, Path(folder), **ARCHIVE):
            wait_until(lambda: finished(client) >= len(candles), "all are applied")
            _picture_of_top(server.port)
            run("plot", EXAMPLE, "--last", str(STATES_SHOWN), "--out", str(PLOT), port=server.port)
    with Image.open(PLOT) as picture:
        picture.convert("RGB").quantize(COLOURS).save(PLOT, optimize=True)


def example(times_ms: Iterable[int]) -> Iterator[Candle]:
    at, close = iter(times_ms), 100.0
    for name, count, drift in LEGS:
        for close_time_ms in islice(at, count):
            now = synthetic_candle(name, close_time_ms, "1m", MINUTE_MS)
            close *= now.close / (now.open or now.close) * math.exp(drift)
            yield msgspec.structs.replace(
                now, symbol=EXAMPLE, open=close, high=close, low=close, close=round(close, 3)
            )


def run(*words: str, port: int) -> None:
    subprocess.run(
        [sys.executable, "-m", "marketstate.worker", *words],
        env=environment(redis_port=port),
        check=True,
    )


def _picture_of_top(port: int) -> None:
    settings = settings_from({"MARKETSTATE_REDIS_PORT": str(port)})
    feed = Feed(settings)
    feed.start()
    # As in a market in which a candle of each symbol closes every minute.
    rate = len(SYMBOLS)
    markets = {name: market for name, market in feed.view.markets.items() if name in SYMBOLS}
    view = feed.view._replace(
        markets=markets, candles_per_min=rate, states_per_min=rate, trouble=""
    )
    feed.stop()
    screen = Screen(settings, UNICODE, "Redis at localhost:6379 db 0")
    drawn = screen.draw(view, Look(), SIZE, LAST_CLOSE_MS + 2_000)
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=SIZE[0], file=nowhere, highlight=False)
        console.print(drawn)
        svg = console.export_svg(title="marketstate top", unique_id="top")
    # Nothing is loaded from elsewhere.
    TOP.write_text(_FONTS_AND_AUTHOR.sub("", svg))


if __name__ == "__main__":
    main()
