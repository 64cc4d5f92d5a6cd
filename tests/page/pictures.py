"""Pictures of the page, from synthetic candles: `scripts/test-page --pictures FOLDER`.

Two of them are in README.md: `python -m tests.page.pictures` makes these.
"""

import io
import math
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import redis
from msgspec.structs import replace
from PIL import Image

from marketstate.schemas.candle import Candle
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.page.browser import Browser
from tests.support.candles import MINUTE_MS, candle
from tests.support.documents import ROOT
from tests.support.page_server import PageServer
from tests.support.pictures import CANDLES
from tests.support.pictures import FOLDER as OF_README
from tests.support.regime_walks import Floats, random_walk, regime_walk
from tests.support.worker_process import WorkerProcess, feed, finished, wait_until

NAMES: Final = (
    *("BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "AVAX", "LINK", "LTC", "DOT", "TRX"),
    *("UNI", "ATOM", "ETC", "FIL", "APT", "ARB", "OP", "SUI", "NEAR", "INJ", "SEI", "TIA"),
)
PRICES: Final = {"BTCUSDT": 97_000.0, "ETHUSDT": 3_400.0, "SOLUSDT": 240.0, "BNBUSDT": 650.0}
APART: Final = 211
# Then rates are those of a minute in which nothing was replayed.
A_WHILE_S: Final = 90
STILL_TO_CLOSE: Final = 10
MANY: Final = 600
STRETCH: Final = 1_500
COLOURS: Final = 64
# With the default weights, nearly all markets are chop.
THETA: Final = ROOT / "deploy/theta/shares-20-20-60.json"
SETTINGS: Final[Any] = {"start": "replay", "output_maxlen": 1_000_000, "theta_file": THETA}


class Shot(NamedTuple):
    name: str
    markets: int
    size: tuple[int, int]
    open: str = ""


SHOTS: Final = (
    Shot("few", 3, (1_280, 800)),
    Shot("table", 60, (1_280, 800)),
    Shot("big", 60, (1_920, 1_080), "SOLUSDT"),
    Shot("market", 60, (1_280, 800), "SOLUSDT"),
    Shot("tablet", 60, (768, 1_024)),
    Shot("phone", 60, (390, 844)),
    Shot("phone-market", 60, (390, 844), "SOLUSDT"),
    Shot("many", MANY, (1_920, 1_080)),
)
README: Final = Shot("page", 24, (1_440, 820), "SOLUSDT")


def draw(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for markets in sorted({shot.markets for shot in SHOTS}):
        with page_of(markets) as address, Browser() as browser:
            for shot in SHOTS:
                if shot.markets == markets:
                    _draw_both(browser, address, shot, folder)


def _draw_both(browser: Browser, address: str, shot: Shot, folder: Path) -> None:
    for theme in ("light", "dark"):
        browser.look(shot.size, dark=theme == "dark")
        hash_part = f"#market={shot.open}" if shot.open else ""
        browser.open(f"{address}{hash_part}", shot.markets)
        wait_until(lambda: not browser.find("#warnings").is_displayed(), "all is well")
        # The plots are fetched, and the page is drawn once per frame.
        time.sleep(1)
        _save(browser.picture(), folder / f"{shot.name}-{theme}.png")


def _save(png: bytes, path: Path) -> None:
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


@contextmanager
def page_of(markets: int) -> Iterator[str]:
    """Its address, while a candle of each closes every minute and a worker is at work."""
    candles = list(synthetic(markets, CANDLES if markets < MANY else 330))
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedRedis() as server,
        server.client() as client,
        WorkerProcess(server.port, Path(folder), **SETTINGS) as worker,
        PageServer(server.port, Path(folder), **SETTINGS) as page,
    ):
        worker.wait_for_log("holding 16 of 16 shards")
        upstream = Upstream(client, candles)
        wait_until(lambda: finished(client) >= upstream.fed, "all are applied")
        try:
            yield f"http://127.0.0.1:{page.port}/"
        finally:
            upstream.end()


class Upstream:
    """Feeds what has closed at once, and the rest when it closes."""

    def __init__(self, client: redis.Redis, candles: Sequence[Candle]) -> None:
        self._client = client
        self._candles = candles
        self._ended = threading.Event()
        self.fed = 0
        self._feed_due()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            self._feed_due()

    def _feed_due(self) -> None:
        now_ms = time.time() * 1_000
        due = [one for one in self._candles[self.fed :] if one.close_time < now_ms]
        self.fed += feed(self._client, due)


def synthetic(markets: int, closes: int) -> Iterator[Candle]:
    """Some are still to close."""
    end_ms = (int(time.time() * 1_000) // MINUTE_MS + STILL_TO_CLOSE) * MINUTE_MS
    times_ms = range(end_ms - closes * MINUTE_MS, end_ms, MINUTE_MS)
    known = [f"{name}USDT" for name in NAMES]
    symbols = known + [f"COIN{number:03d}USDT" for number in range(markets - len(known))]
    paths = {
        symbol: np.exp(np.cumsum(_returns(seed, closes)))
        for seed, symbol in enumerate(symbols[:markets])
    }
    random = np.random.RandomState(1)
    for symbol, path in paths.items():
        last = PRICES.get(symbol, math.exp(random.uniform(-2, 5)))
        paths[symbol] = path / path[-1] * last
    for i, open_time in enumerate(times_ms):
        for symbol, path in paths.items():
            close = float(f"{path[i]:.6g}")
            yield replace(
                candle(symbol, 0, close),
                open_time=open_time,
                close_time=open_time + MINUTE_MS - 1,
            )


def _returns(seed: int, closes: int) -> Floats:
    """Each market has been in its regime for another time, and moves more or less."""
    regimes = regime_walk(closes + STRETCH, seed)[seed * APART % STRETCH :][:closes]
    returns: Floats = (regimes + random_walk(closes, seed)) * (1 + seed % 4)
    return returns


if __name__ == "__main__":
    with page_of(README.markets) as address, Browser() as browser:
        time.sleep(A_WHILE_S)
        _draw_both(browser, address, README, OF_README)
