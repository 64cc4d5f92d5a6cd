"""Workers in the test's process, with windows so short that a few candles fill them."""

from collections.abc import Callable
from typing import Any

import redis

from marketstate.schemas.candle import Candle
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.feeding import NEEDED, SMALL_THETA
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INTERNAL_PREFIX, feed, published

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


def worked(server: EmbeddedRedis, client: redis.Redis, **settings: Any) -> SteppedWorker:
    """A worker that has published states of both symbols."""
    worker = small_worker(server, **settings)
    feed(client, candles_of(SYMBOLS, 0, FILLED - 1))
    work_off(worker)
    assert set(published(client)) == set(SYMBOLS)
    return worker


def aside(client: redis.Redis) -> dict[bytes, bytes]:
    """What Redis has of the symbols that are set aside."""
    found: Any = client.hgetall(f"{INTERNAL_PREFIX}:quarantine")
    return dict(found)


def in_place_of(key: str, *command: object) -> Callable[[Any], object]:
    """Deletes the key, then executes the command."""

    def cause(client: Any) -> None:
        client.delete(key)
        client.execute_command(*command)

    return cause
