"""Loading: no more is taken at once than can be loaded in time, and leases outlast the loading."""

from typing import Any

import pytest
import redis

from marketstate.worker.engine.shards import FIRST_LOAD
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle, made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INTERNAL_PREFIX, feed

# As large as windows may be, so that few symbols count as many candles, and a reply has only one.
LARGE = 100_000
SYMBOLS = [f"SYM{i}USDT" for i in range(40)]


def group_with_symbols(server: EmbeddedRedis, client: redis.Redis, **settings: Any) -> None:
    """Three candles of each symbol are applied, and no worker is left."""
    worker = SteppedWorker(server, "first", window_size=LARGE, **settings)
    worker.keep()
    feed(client, made_candles(SYMBOLS, 3))
    worker.finish_all()
    worker.shards.release()


def windows(worker: SteppedWorker) -> dict[str, list[float]]:
    return {
        symbol: memory.window.closes().tolist() for _, symbol, memory in worker.shards.remembered()
    }


EXPECTED = {
    symbol: [one.close for one in made_candles(SYMBOLS, 3) if one.symbol == symbol]
    for symbol in SYMBOLS
}


def test_a_worker_takes_what_it_can_load_in_time_and_works_before_it_takes_more(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6."""
    group_with_symbols(server, client)
    worker = SteppedWorker(server, "next", window_size=LARGE)
    feed(client, [candle(symbol, 3, 1.0) for symbol in SYMBOLS])
    worker.shards.keep()
    first = set(worker.shards)
    assert 0 < len(first) < 16
    in_first = [symbol for symbol in SYMBOLS if shard_of(symbol, 16) in first]
    assert len(in_first) * LARGE <= FIRST_LOAD
    readings = worker.fetch()
    assert [reading.found.symbol for reading in readings] == in_first  # type: ignore[union-attr]
    worker.apply(worker.advance(readings))
    while worker.shards.seconds_to_keep == 0:
        worker.shards.keep()
    assert list(worker.shards) == [*range(16)]
    worker.finish_all()
    assert windows(worker) == {symbol: [*closes, 1.0] for symbol, closes in EXPECTED.items()}


def test_a_shard_that_is_larger_than_anything_that_fits_is_taken_alone(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: otherwise no worker would ever serve it."""
    group_with_symbols(server, client, shards=2)
    worker = SteppedWorker(server, "next", window_size=LARGE, shards=2)
    worker.shards.keep()
    assert len(list(worker.shards)) == 1
    worker.shards.keep()
    assert windows(worker) == EXPECTED


class Passing:
    """A worker whose lease time passes while it loads: each reply takes almost half of it."""

    def __init__(self, worker: SteppedWorker, client: redis.Redis) -> None:
        self._worker = worker
        self._client = client
        self._loaded: Any = worker.shards._loading._loaded
        self.replies = 0
        worker.shards._loading._loaded = self  # type: ignore[assignment,method-assign]

    def __call__(self, *given: Any) -> Any:
        self.replies += 1
        passed_ms = self._worker.settings.lease_ms * 45 // 100
        for shard in range(self._worker.settings.shards):
            lease = self._worker.keys.lease(shard)
            left_ms: Any = self._client.pttl(lease)
            if left_ms > passed_ms:
                self._client.pexpire(lease, left_ms - passed_ms)
            else:
                self._client.delete(lease)
        self._worker.shards.drop([])
        return self._loaded(*given)


@pytest.mark.parametrize("shards", [1, 4])
def test_leases_outlast_a_loading_that_takes_longer(
    shards: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: a worker that lost them would never finish loading."""
    group_with_symbols(server, client, shards=shards)
    taken_before = int(client.get(f"{INTERNAL_PREFIX}:epoch") or 0)
    worker = SteppedWorker(server, "next", window_size=LARGE, shards=shards)
    passing = Passing(worker, client)
    for _ in range(shards):
        worker.shards.keep()
    assert windows(worker) == EXPECTED
    assert passing.replies == len(SYMBOLS)
    assert int(client.get(f"{INTERNAL_PREFIX}:epoch") or 0) == taken_before + shards


def test_a_shard_that_is_lost_while_it_is_loaded_is_not_held(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4."""
    group_with_symbols(server, client, shards=1)
    worker = SteppedWorker(server, "next", window_size=LARGE, shards=1)
    loaded: Any = worker.shards._loading._loaded

    def and_lose_the_lease(*given: Any) -> Any:
        client.set(worker.keys.lease(0), "other:99")
        client.hset(f"{INTERNAL_PREFIX}:members", "other", f"{now_ms(client)}:60000:x")
        worker.shards.drop([])
        return loaded(*given)

    worker.shards._loading._loaded = and_lose_the_lease  # type: ignore[assignment,method-assign]
    worker.shards.keep()
    assert list(worker.shards) == []
    assert client.get(worker.keys.lease(0)) == b"other:99"


def test_windows_are_complete_although_redis_forgets_the_script_while_it_loads(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: what was asked ahead is refused then, and must be asked again."""
    group_with_symbols(server, client, shards=1)
    worker = SteppedWorker(server, "next", window_size=LARGE, shards=1)
    loaded: Any = worker.shards._loading._loaded

    def and_forget(*given: Any) -> Any:
        client.script_flush()
        return loaded(*given)

    worker.shards._loading._loaded = and_forget  # type: ignore[assignment,method-assign]
    worker.shards.keep()
    assert windows(worker) == EXPECTED


def now_ms(client: redis.Redis) -> int:
    time: Any = client.time()
    return int(time[0]) * 1_000 + int(time[1]) // 1_000


def test_a_small_group_is_taken_at_once(server: EmbeddedRedis, client: redis.Redis) -> None:
    """G6: one keep takes the whole share, and is not due again at once."""
    first = SteppedWorker(server, "first")
    first.keep()
    feed(client, made_candles([f"SYM{i}USDT" for i in range(1_000)], 1))
    first.finish_all()
    first.shards.release()
    worker = SteppedWorker(server, "next")
    worker.shards.keep()
    assert list(worker.shards) == [*range(16)]
    assert worker.shards.seconds_to_keep > 0
    assert len(windows(worker)) == 1_000


def test_marks_that_somebody_has_overwritten_count_as_no_symbols(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: the other shards are taken and kept."""
    first = SteppedWorker(server, "first")
    first.keep()
    client.set(first.keys.marks(3), "not a hash")
    assert len(first.keep()) == 16
