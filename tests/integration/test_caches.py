"""Candle caches belong to other programs: bad content affects only that cache (G9)."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import START_MS, candle
from tests.support.small_workers import small_worker, work_off
from tests.support.worker_process import INTERNAL_PREFIX, counters, feed

pytestmark = pytest.mark.one_redis_version

CACHE = "candles:BTCUSDT:1m"
GOOD_CACHE = "klines:BTCUSDT:1m"
T = START_MS - 60_000
OLDER = {"100.5": T - 60_000, "101.5": T}

VALUES: dict[str, str | bytes] = {
    "a time of 400 digits": '{"close": 1.0, "t": 1' + "0" * 400 + "}",
    "a close time of 400 digits": '{"close": 1.0, "close_time": 1' + "0" * 400 + "}",
    "a time of 5,000 digits": '{"close": 1.0, "t": 1' + "0" * 5_000 + "}",
    "a close of 400 digits": "1" + "0" * 400,
    "a close of 5,000 digits": "1" + "0" * 5_000,
    "an infinite time": '{"close": 1.0, "t": 1e400}',
    "a time of 1e300": '{"close": 1.0, "t": 1e300}',
    "a time of -1e300": '{"close": 1.0, "t": -1e300}',
    "a time in the year 9999": '{"close": 1.0, "t": 253370764800000}',
    "a time in 1990": '{"close": 1.0, "t": 631152000000}',
    "a time of 0": '{"close": 1.0, "t": 0}',
    "a close that is true": '{"close": true}',
    "a close with an underscore": '{"close": "1_0"}',
    "a close with a blank": '{"close": " 10"}',
    "a close in other digits": '{"close": "\u0661\u0660"}',
    "a close in hexadecimal": '{"close": "0x10"}',
    "a close that is nan": '{"close": "nan"}',
    "a close that is infinite": '{"close": "inf"}',
    "a close that is 0": '{"close": 0}',
    "a close below what a float holds": '{"close": 1e-400}',
    "a close that is null": '{"close": null}',
    "a close that is a list": '{"close": [1]}',
    "no close": '{"t": 1746373200000}',
    "an empty object": "{}",
    "an empty list": "[]",
    "null": "null",
    "true": "true",
    "nothing": b"",
    "nested lists": "[" * 5_000 + "]" * 5_000,
    "nested objects": '{"close":' * 5_000 + "1" + "}" * 5_000,
    "not UTF-8": b'{"close": 1.0, "x": "\xff"}',
    "half a surrogate": '{"close": 1.0, "x": "\\ud800"}',
    "bytes": b"\x00\xff\xfe",
    "a megabyte": '{"close": 1.0, "x": "' + "x" * 1_000_000 + '"}',
    "MessagePack": b"\x81\xa5close\x01",
    "a byte order mark": b'\xef\xbb\xbf{"close": 1.0}',
}


def call(*command: object) -> Callable[[Any], object]:
    return lambda client: client.execute_command(*command)


CAUSES: dict[str, Callable[[Any], object]] = {
    **{f"{name}, in a list": call("RPUSH", CACHE, value) for name, value in VALUES.items()},
    **{
        f"{name}, in a sorted set": call("ZADD", CACHE, T, value)
        for name, value in VALUES.items()
        if '"t"' not in str(value) and "close_time" not in str(value)
    },
    **{
        f"a score of {score}": call("ZADD", CACHE, score, "1.5")
        for score in ("inf", "-inf", "1e308", "-1e300", "0", "1e15", "5e-324")
    },
    "a string": call("SET", CACHE, "x"),
    "a set": call("SADD", CACHE, "x"),
    "a stream": call("XADD", CACHE, "*", "a", "b"),
    "times for some": call("RPUSH", CACHE, '{"close": 1.0, "t": 1746373200000}', "1.5"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_cache_that_cannot_be_right_is_skipped_for_the_next(
    name: str, server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G9"""
    CAUSES[name](client)
    client.zadd(GOOD_CACHE, OLDER)
    worker = small_worker(server)
    feed(client, [candle(symbol, 0, 100.0) for symbol in ("BTCUSDT", "ETHUSDT")])
    with caplog.at_level(logging.WARNING):
        work_off(worker)
    assert counters(client) == {"applied": 2}
    assert f"BTCUSDT: the cache {CACHE} is not used: " in caplog.text
    assert client.llen(f"{INTERNAL_PREFIX}:window:BTCUSDT") == 3


@pytest.mark.parametrize("command", ["ZADD", "RPUSH"])
def test_a_cache_of_many_monsters_does_not_come_into_memory(
    command: str, server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: a service has 512 MB, and a window of 300 closes reads 320 values at once."""
    for i in range(40):
        value = f'{{"close": {100 + i}, "x": "{"x" * 100_000}"}}'
        scores = [T - i * 60_000] if command == "ZADD" else []
        call(command, CACHE, *scores, value)(client)
    worker = small_worker(server)
    feed(client, [candle("BTCUSDT", 0, 100.0)])
    before: Any = client.info("stats")["total_net_output_bytes"]
    work_off(worker)
    assert "is not used: a value has 100," in caplog.text
    sent: Any = client.info("stats")["total_net_output_bytes"]
    assert sent - before < 1_000_000


def test_a_cache_that_this_user_may_not_read_is_skipped(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G9"""
    call("ACL", "SETUSER", "half", "on", ">secret", "+@all", "~quantum:*", f"~{GOOD_CACHE}")(client)
    try:
        client.rpush(CACHE, "1.5")
        client.zadd(GOOD_CACHE, OLDER)
        worker = small_worker(server, redis_username="half", redis_password="secret")
        feed(client, [candle("BTCUSDT", 0, 100.0)])
        with caplog.at_level(logging.WARNING):
            work_off(worker)
        assert counters(client) == {"applied": 1}
        assert f"BTCUSDT: the cache {CACHE} is not used: " in caplog.text
        assert client.llen(f"{INTERNAL_PREFIX}:window:BTCUSDT") == 3
    finally:
        call("ACL", "DELUSER", "half")(client)


def test_closes_of_a_list_that_would_begin_before_2000_are_skipped(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: a week for each candle reaches far back."""
    closes = ["1.5", "2.5", "3.5", "4.5"]
    client.rpush(CACHE, *["1.5"] * 2_000, *closes)
    worker = small_worker(
        server, candle_interval="1w", window_size=1_900, backfill_keys="candles:{symbol}:1m"
    )
    feed(client, [candle("BTCUSDT", 0, 100.0)])
    for i, close in enumerate(closes):
        week = {"symbol": "BTCUSDT", "close": close, "interval": "1w"}
        week["close_time"] = str(START_MS - (4 - i) * 7 * 86_400_000)
        client.xadd(worker.keys.input, week)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        work_off(worker)
    assert counters(client) == {"applied": 4, "ignored": 1}
    assert "would begin before the year 2000" in caplog.text
