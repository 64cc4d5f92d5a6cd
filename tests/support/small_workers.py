"""Workers in the test's process, with windows so short that a few candles fill them."""

from typing import Any

from schemas.candle import Candle
from tests.support.candles import made_candles
from tests.support.feeding import NEEDED, SMALL_THETA
from tests.support.steps import SteppedWorker
from worker.local.redis_server import EmbeddedRedis

WINDOW_SIZE = 12
SYMBOLS = ("BTCUSDT", "ETHUSDT")
# More candles than a window needs, fewer than it holds.
FILLED = NEEDED + 1


def small_worker(server: EmbeddedRedis, worker_id: str = "one", **settings: Any) -> SteppedWorker:
    """A worker that holds all shards that are free."""
    small: dict[str, Any] = {"theta": SMALL_THETA, "window_size": WINDOW_SIZE}
    worker = SteppedWorker(server, worker_id, **(small | settings))
    worker.keep()
    return worker


def work_off(worker: SteppedWorker) -> None:
    """Batches as the loop does them, until nothing is left."""
    while worker.work_on_a_batch():
        pass


def candles_of(symbols: tuple[str, ...], first: int, last: int) -> list[Candle]:
    """Candles `first` to `last` of each symbol, counted from 0."""
    return made_candles(symbols, last + 1)[first * len(symbols) :]
