"""Caches of longer intervals fill their windows, as those of the candle interval fill its own."""

import logging
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import longer_interval, resampled
from marketstate.schemas.market_state import decode_record
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.intervals import published_by_interval
from tests.support.small_workers import small_worker, work_off
from tests.support.worker_process import INTERNAL_PREFIX, counters, expire_leases, feed

pytestmark = pytest.mark.one_redis_version

SYMBOLS = ("BTCUSDT", "ETHUSDT")
LONGER = ("5m", "15m")
CANDLES = made_candles(SYMBOLS, 400)
# A moment at which no candle of a longer interval ends.
BEGIN = 301 * len(SYMBOLS)
SEVERAL: dict[str, Any] = {
    "intervals": "1m,5m,15m",
    "start": "replay",
    "backfill_keys": "candles:{symbol}:{interval}",
}


def fill_caches(client: redis.Redis, candles: list[Candle]) -> None:
    """With all of these candles: what is newer than a symbol's first candle must not count."""
    for symbol in SYMBOLS:
        closes = [(one.close_time, one.close) for one in candles if one.symbol == symbol]
        for name in ("1m", *LONGER):
            is_longer = name != "1m"
            found = resampled(longer_interval(name, "1m"), closes) if is_longer else closes
            values = [f'{{"close_time": {ms}, "close": {close!r}}}' for ms, close in found]
            client.rpush(f"candles:{symbol}:{name}", *values)


def published(client: redis.Redis) -> dict[str, dict[str, list[bytes]]]:
    return {suffix: published_by_interval(client)[suffix] for suffix in ("", ".5m", ".15m")}


def published_from_begin_on(client: redis.Redis) -> dict[str, dict[str, list[bytes]]]:
    since_ms = CANDLES[BEGIN].close_time
    return {
        suffix: {
            symbol: [one for one in records if decode_record(one).close_time_ms >= since_ms]
            for symbol, records in of_interval.items()
        }
        for suffix, of_interval in published(client).items()
    }


@pytest.fixture
def expected(server: EmbeddedRedis, client: redis.Redis) -> dict[str, dict[str, list[bytes]]]:
    """What a group publishes from BEGIN on that has had all candles."""
    worker = small_worker(server, **SEVERAL | {"backfill_keys": "none"})
    feed(client, CANDLES)
    work_off(worker)
    found = published_from_begin_on(client)
    client.flushall()
    assert [len(found[suffix]["BTCUSDT"]) for suffix in found] == [99, 20, 7]
    return found


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_a_new_group_publishes_what_one_with_all_candles_would(
    batch: int, server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G2, G6: no interval waits for as many candles as a state needs."""
    fill_caches(client, CANDLES)
    worker = small_worker(server, batch=batch, **SEVERAL)
    feed(client, CANDLES[BEGIN:])
    work_off(worker)
    assert published(client) == expected


def test_a_batch_that_is_calculated_again_reads_its_caches_once(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a symbol is set aside while it is committed."""
    fill_caches(client, CANDLES)
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES[BEGIN:])
    advance = worker.prepare(worker.fetch())
    with caplog.at_level(logging.INFO):
        once, again = advance(), advance()
    assert once.records == again.records
    assert caplog.text.count("12 closes from the cache") == 3 * len(SYMBOLS)


@pytest.mark.parametrize("batch", [1, 500])
def test_candles_that_come_twice_change_no_byte(
    batch: int, server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G2: nor do those with which the windows begin."""
    fill_caches(client, CANDLES)
    worker = small_worker(server, batch=batch, **SEVERAL)
    feed(client, [one for one in CANDLES[BEGIN:] for _ in range(2)])
    work_off(worker)
    assert published(client) == expected


@pytest.mark.parametrize("commits", [True, False])
def test_workers_that_die_after_each_batch_change_no_byte(
    commits: bool, server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G2, G3: closes that are not from a cache of the candle interval are there first."""
    fill_caches(client, CANDLES)
    client.delete(*(f"candles:{symbol}:1m" for symbol in SYMBOLS))
    feed(client, CANDLES[BEGIN:])
    number = 0
    while counters(client).get("applied", 0) < len(CANDLES) - BEGIN:
        number += 1
        # The first ones die before a longer window begins.
        batch = 3 if number < 6 else 50
        worker = small_worker(server, f"worker-{number}", batch=batch, **SEVERAL)
        changes = worker.advance(worker.fetch())
        if commits or number % 2:
            worker.apply(changes)
        expire_leases(client)
    assert published(client) == expected | {"": published(client)[""]}


@pytest.mark.parametrize("batch", [1, 500])
def test_an_interval_that_is_added_later_begins_with_its_cache(
    batch: int, server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G2."""
    worker = small_worker(server, start="replay", backfill_keys="none")
    feed(client, CANDLES[:BEGIN])
    work_off(worker)
    worker.shards.release()
    fill_caches(client, CANDLES)
    worker = small_worker(server, "next", batch=batch, **SEVERAL)
    feed(client, CANDLES[BEGIN:])
    work_off(worker)
    found = published(client)
    assert [found[suffix] for suffix in (".5m", ".15m")] == [
        expected[suffix] for suffix in (".5m", ".15m")
    ]


@pytest.mark.parametrize("is_alone", [False, True])
@pytest.mark.parametrize("batch", [1, 500])
def test_a_symbol_that_was_silent_so_long_that_it_starts_over_begins_with_the_caches(
    batch: int, is_alone: bool, server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G2: whether the silence is within a batch or not. Without a cache of the candle interval, the
    longer windows are empty until a longer candle ends.
    """
    fill_caches(client, CANDLES)
    if is_alone:
        client.delete(*(f"candles:{symbol}:1m" for symbol in SYMBOLS))
    worker = small_worker(server, batch=batch, retire_after="40m", **SEVERAL)
    silent = 60 * len(SYMBOLS)
    feed(client, [*CANDLES[BEGIN - silent - 40 : BEGIN - silent], *CANDLES[BEGIN:]])
    work_off(worker)
    found = published_from_begin_on(client)
    assert found == expected | ({"": found[""]} if is_alone else {})


def test_a_window_starts_over_with_the_last_candle_before_another_gap(
    server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G6: it closes a candle of 15m, and behind it the shorter window is filled from its cache."""
    fill_caches(client, CANDLES)
    worker = small_worker(server, **SEVERAL, max_gap=3)
    first, lonely = BEGIN - 120 * len(SYMBOLS), BEGIN - 28 * len(SYMBOLS)
    feed(client, CANDLES[first - 40 : first])
    feed(client, [*CANDLES[lonely : lonely + len(SYMBOLS)], *CANDLES[BEGIN:]])
    work_off(worker)
    found = published_from_begin_on(client)[".15m"]
    assert [*map(len, found.values())] == [*map(len, expected[".15m"].values())]


def test_what_is_left_of_a_window_is_not_put_in_front_of_a_long_silence(
    server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G2: in one batch, the last candles before the silence and the first ones after it."""
    settings = SEVERAL | {"retire_after": "40m"}
    before = CANDLES[BEGIN - 100 * len(SYMBOLS) :][: 40 * len(SYMBOLS)]
    feed(client, before[:-2])
    worker = small_worker(server, **settings)
    work_off(worker)
    worker.shards.release()
    fill_caches(client, CANDLES)
    client.delete(*(f"candles:{symbol}:1m" for symbol in SYMBOLS))
    worker = small_worker(server, "next", **settings)
    feed(client, [*before[-2:], *CANDLES[BEGIN:]])
    work_off(worker)
    found = published_from_begin_on(client)
    assert found == expected | {"": found[""]}


@pytest.mark.parametrize(("batch", "dies"), [(1, False), (500, False), (30, True)])
def test_a_window_that_starts_over_after_a_gap_has_the_closes_of_its_cache(
    batch: int, dies: bool, server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G2: at once, not only when another worker has loaded it."""
    fill_caches(client, CANDLES)
    client.delete(*(f"candles:{symbol}:1m" for symbol in SYMBOLS))
    silent = BEGIN - 100 * len(SYMBOLS)
    feed(client, [*CANDLES[silent - 200 : silent], *CANDLES[BEGIN:]])
    settings = SEVERAL | {"batch": batch, "max_gap": 3}
    worker = small_worker(server, **settings)
    while worker.work_on_a_batch():
        if dies:
            worker.shards.release()
            worker = small_worker(server, **settings)
    assert counters(client)["restarted.5m"] == len(SYMBOLS)
    found = published_from_begin_on(client)
    assert [found[suffix] for suffix in (".5m", ".15m")] == [
        expected[suffix] for suffix in (".5m", ".15m")
    ]


def test_what_is_left_of_a_window_stays_behind_what_comes_from_its_cache(
    server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G6: closes of a window were deleted after states had been published from it."""
    worker = small_worker(server, **SEVERAL | {"backfill_keys": "none"})
    feed(client, CANDLES[:BEGIN])
    work_off(worker)
    worker.shards.release()
    for name in LONGER:
        client.ltrim(f"{INTERNAL_PREFIX}:window.{name}:BTCUSDT", -3, -1)
        client.delete(f"{INTERNAL_PREFIX}:window.{name}:ETHUSDT")
    client.delete("quantum:stream:marketstate.5m", "quantum:stream:marketstate.15m")
    fill_caches(client, CANDLES)
    worker = small_worker(server, "next", **SEVERAL)
    feed(client, CANDLES[BEGIN:])
    work_off(worker)
    found = published(client)
    assert [found[suffix] for suffix in (".5m", ".15m")] == [
        expected[suffix] for suffix in (".5m", ".15m")
    ]


def test_caches_that_are_there_later_fill_windows_of_which_no_state_was_published(
    server: EmbeddedRedis, client: redis.Redis, expected: Any
) -> None:
    """G6: when they are loaded, also those of the candle interval."""
    feed(client, CANDLES[BEGIN : BEGIN + 7 * len(SYMBOLS)])
    worker = small_worker(server, **SEVERAL)
    work_off(worker)
    assert published(client) == {"": {}, ".5m": {}, ".15m": {}}
    worker.shards.release()
    fill_caches(client, CANDLES)
    worker = small_worker(server, "next", **SEVERAL)
    feed(client, CANDLES[BEGIN + 7 * len(SYMBOLS) :])
    work_off(worker)
    first_n = {"": 7, ".5m": 1, ".15m": 1}
    assert published(client) == {
        suffix: {symbol: records[first_n[suffix] :] for symbol, records in of_interval.items()}
        for suffix, of_interval in expected.items()
    }


def test_a_cache_of_another_interval_costs_that_interval_alone(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G9."""
    fill_caches(client, CANDLES)
    client.rename("candles:BTCUSDT:1m", "candles:BTCUSDT:5m")
    client.set("candles:ETHUSDT:15m", "a string")
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES[BEGIN:])
    work_off(worker)
    told = "BTCUSDT 5m: the cache candles:BTCUSDT:5m is not used: its values are 60 s apart"
    assert told in caplog.text
    assert "ETHUSDT 15m: the cache candles:ETHUSDT:15m is not used: it is a string" in caplog.text
    assert [_length(client, *each) for each in (("5m", "BTCUSDT"), ("15m", "ETHUSDT"))] == [12, 8]
    assert [_length(client, *each) for each in (("15m", "BTCUSDT"), ("5m", "ETHUSDT"))] == [12, 12]


def _length(client: redis.Redis, interval: str, symbol: str) -> Any:
    return client.llen(f"{INTERNAL_PREFIX}:window.{interval}:{symbol}")
