"""What the caches of other programs really hold: the right closes and times get into the window, or
a line says why none do.
"""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from marketstate.core.theta import merged_theta
from marketstate.schemas.candle import Candle
from marketstate.worker.engine import window_codec
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import MINUTE_MS, candle
from tests.support.small_workers import WINDOW_SIZE, small_worker, work_off
from tests.support.worker_process import INTERNAL_PREFIX, feed

pytestmark = pytest.mark.one_redis_version

CACHE = "candles:BTCUSDT:1m"
FIRST = 30
Window = tuple[list[int], list[float]]
Fill = Callable[[redis.Redis, Sequence[Candle]], object]


def one(number: int) -> Candle:
    return candle("BTCUSDT", number, round(100 + (number * number % 97) / 10 + number / 1_000, 3))


def some(first: int, last: int) -> list[Candle]:
    return [one(number) for number in range(first, last + 1)]


def window_of(client: redis.Redis) -> Window:
    packed: Any = client.lrange(f"{INTERNAL_PREFIX}:window:BTCUSDT", 0, -1)
    times_ms, closes = window_codec.unpack(b"".join(packed))
    return times_ms.tolist(), closes.tolist()


def as_window(candles: Sequence[Candle]) -> Window:
    last = candles[-WINDOW_SIZE:]
    return [each.close_time for each in last], [each.close for each in last]


def opened(each: Candle) -> int:
    return each.close_time - MINUTE_MS + 1


def after_one_batch(
    server: EmbeddedRedis, client: redis.Redis, candles: Sequence[Candle], **settings: Any
) -> Window:
    worker = small_worker(server, **settings)
    feed(client, list(candles))
    work_off(worker)
    return window_of(client)


def pushed(write: str, value: Callable[[Candle], object]) -> Fill:
    """LPUSH puts the newest first, RPUSH the oldest."""

    def fill(client: redis.Redis, candles: Sequence[Candle]) -> None:
        for each in candles:
            push = client.lpush if write == "LPUSH" else client.rpush
            push(CACHE, json.dumps(value(each)))

    return fill


def scored(score: Callable[[Candle], float], value: Callable[[Candle], object]) -> Fill:
    def fill(client: redis.Redis, candles: Sequence[Candle]) -> None:
        for each in candles:
            client.zadd(CACHE, {json.dumps(value(each)): score(each)})

    return fill


def bare(each: Candle) -> object:
    return each.close


def named(time: object, name: str, close: object, **more: object) -> dict[str, object]:
    return {name: time, "close": close} | more


def ccxt(each: Candle) -> object:
    return [opened(each), each.close - 1, each.close + 2, each.close - 2, each.close, 5.0]


def ccxt_without_time(each: Candle) -> object:
    return {"n": each.close_time, "close": each.close}


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat()


def kline_event(each: Candle) -> object:
    kline = {"t": opened(each), "T": each.close_time, "i": "1m", "c": str(each.close), "x": True}
    return {"stream": "x", "data": {"e": "kline", "s": "BTCUSDT", "k": kline}}


BY_OPEN_TIME: dict[str, Fill] = {
    "t in ms, newest first": pushed("LPUSH", lambda c: named(opened(c), "t", c.close)),
    "time in s, newest first": pushed(
        "LPUSH", lambda c: named(opened(c) // 1_000, "time", c.close)
    ),
    "time in s, oldest first": pushed(
        "RPUSH", lambda c: named(opened(c) // 1_000, "time", c.close)
    ),
    "timestamp, newest first": pushed("LPUSH", lambda c: named(opened(c), "timestamp", c.close)),
    "ts as text, newest first": pushed(
        "LPUSH", lambda c: named(str(opened(c)), "ts", str(c.close))
    ),
    "t as text": pushed("RPUSH", lambda c: named(str(opened(c)), "t", str(c.close))),
    "ISO 8601": pushed("LPUSH", lambda c: named(iso(opened(c)), "open_time", c.close)),
    "t in ns": pushed("LPUSH", lambda c: named(opened(c) * 1_000_000, "t", c.close)),
    "float seconds": pushed("RPUSH", lambda c: named(opened(c) / 1_000, "start", c.close)),
    "kline events, newest first": pushed("LPUSH", kline_event),
    "arrays of ccxt, newest first": pushed("LPUSH", ccxt),
    "arrays of ccxt, oldest first": pushed("RPUSH", ccxt),
    "arrays of ccxt in a sorted set": scored(opened, ccxt),
    "prices scored in ms": scored(opened, bare),
    "prices scored in s": scored(lambda c: opened(c) // 1_000, bare),
    "prices scored in us": scored(lambda c: opened(c) * 1_000, bare),
    "prices scored in ns": scored(lambda c: opened(c) * 1_000_000, bare),
    "times in the values of a set scored by number": scored(
        lambda c: opened(c) // MINUTE_MS % 1_000, lambda c: named(opened(c), "t", c.close)
    ),
    "close time beside a vague one": pushed(
        "LPUSH", lambda c: named(opened(c), "timestamp", c.close, close_time=c.close_time)
    ),
}
BY_CLOSE_TIME: dict[str, Fill] = {
    "T": pushed("LPUSH", lambda c: named(c.close_time, "T", c.close)),
    "close_time in us": pushed(
        "RPUSH", lambda c: named(c.close_time * 1_000 + 999, "close_time", c.close)
    ),
    "timestamps that end in 999": pushed(
        "LPUSH", lambda c: named(c.close_time, "timestamp", c.close)
    ),
    "scores that end in 999": scored(lambda c: c.close_time, bare),
}
VAGUE_CLOSE_TIME: dict[str, Fill] = {
    "ts in s": pushed("LPUSH", lambda c: named((c.close_time + 1) // 1_000, "ts", c.close)),
    "scores in s": scored(lambda c: (c.close_time + 1) // 1_000, bare),
    "a while after the close": scored(lambda c: c.close_time + 2_500, bare),
}
CASES = BY_OPEN_TIME | BY_CLOSE_TIME


@pytest.mark.parametrize("last", [FIRST - 1, FIRST], ids=["before", "up to the first candle"])
@pytest.mark.parametrize("name", CASES)
def test_a_cache_in_any_order_and_unit_fills_the_whole_window(
    name: str, last: int, server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    CASES[name](client, some(0, last))
    caplog.set_level(logging.INFO)
    assert after_one_batch(server, client, [one(FIRST)]) == as_window(some(0, FIRST))
    assert f"BTCUSDT: {WINDOW_SIZE} closes from the cache {CACHE}" in caplog.text
    assert "missing" not in caplog.text


@pytest.mark.parametrize("name", CASES)
def test_a_cache_that_runs_ahead_of_the_stream_fills_the_whole_window(
    name: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The stream has older entries when a group begins, and the cache is as new as it can be."""
    CASES[name](client, some(0, FIRST + 60))
    assert after_one_batch(server, client, some(FIRST, FIRST + 4), batch=5) == as_window(
        some(0, FIRST + 4)
    )


@pytest.mark.parametrize("last", [FIRST - 1, FIRST], ids=["before", "up to the first candle"])
def test_times_that_end_in_59_s_are_close_times(
    last: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    fill = pushed("LPUSH", lambda c: named(c.close_time // 1_000, "time", c.close))
    fill(client, some(0, last))
    times_ms, closes = after_one_batch(server, client, [one(FIRST)])
    expected = as_window(some(0, FIRST))
    assert closes == expected[1]
    assert [ms // 1_000 for ms in times_ms] == [ms // 1_000 for ms in expected[0]]


@pytest.mark.parametrize("name", VAGUE_CLOSE_TIME)
def test_the_candle_that_cache_and_stream_have_in_common_shows_that_times_are_close_times(
    name: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    VAGUE_CLOSE_TIME[name](client, some(0, FIRST))
    times_ms, closes = after_one_batch(server, client, [one(FIRST)])
    expected = as_window(some(0, FIRST))
    assert closes == expected[1]
    assert [round(ms / MINUTE_MS) for ms in times_ms] == [
        round(ms / MINUTE_MS) for ms in expected[0]
    ]


@pytest.mark.parametrize("name", VAGUE_CLOSE_TIME)
def test_a_close_that_may_be_the_first_candle_itself_is_left_out_and_counts_as_missing(
    name: str, server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    """The cache ends one candle before the stream begins, or has another close for its candle."""
    VAGUE_CLOSE_TIME[name](client, some(0, FIRST - 1))
    _, closes = after_one_batch(server, client, [one(FIRST)])
    expected = [*some(FIRST - WINDOW_SIZE, FIRST - 2), one(FIRST)]
    assert closes == [each.close for each in expected]
    assert "candles missing between them: 1; its times may be those of the open" in caplog.text


@pytest.mark.parametrize("offset_ms", [0, -MINUTE_MS], ids=["close times", "open times"])
def test_a_price_that_stays_the_same_decides_nothing(
    offset_ms: int, server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    """The last two closes of the cache are equal, and the first candle may be either of them."""
    same = [candle("BTCUSDT", number, 100.0) for number in (FIRST - 1, FIRST, FIRST + 1)]
    cached = [*some(0, FIRST - 2), *(same[:2] if offset_ms == 0 else same)]
    scored(lambda c: c.close_time + 1 + offset_ms, ccxt_without_time)(client, cached)
    _, closes = after_one_batch(server, client, [same[1]])
    kept = same[1:2] if offset_ms == 0 else same[:2]
    expected = [*some(FIRST - WINDOW_SIZE + len(kept) - 2, FIRST - 2), *kept]
    assert closes == [each.close for each in expected][-WINDOW_SIZE:]
    assert "candles missing between them: 1; its times may be" in caplog.text


def test_an_array_with_an_open_time_whose_candle_was_revised_is_not_there_twice(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    revised = [*some(0, FIRST - 1), candle("BTCUSDT", FIRST, 99.0)]
    pushed("RPUSH", ccxt)(client, revised)
    _, closes = after_one_batch(server, client, [one(FIRST)])
    assert closes == as_window(some(0, FIRST))[1]


@pytest.mark.parametrize("flag", ["x", "confirm", "is_closed", "closed", "isFinal"])
@pytest.mark.parametrize("value", [False, "false", 0, "0", "False"])
def test_a_last_value_that_is_not_closed_is_left_out(
    flag: str, value: object, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Though it has the time of a candle that is older than the first one."""

    def with_flag(each: Candle) -> object:
        flags = {flag: value if each.close == one(FIRST - 1).close else True}
        return named(opened(each), "t", each.close, **flags)

    pushed("RPUSH", with_flag)(client, some(0, FIRST - 1))
    _, closes = after_one_batch(server, client, [one(FIRST)])
    expected = [*some(FIRST - WINDOW_SIZE, FIRST - 2), one(FIRST)]
    assert closes == [each.close for each in expected]


def test_a_last_value_that_closes_after_the_first_candle_is_left_out(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    pushed("LPUSH", ccxt)(client, some(0, FIRST + 1))
    assert after_one_batch(server, client, [one(FIRST)]) == as_window(some(0, FIRST))


def test_updates_of_the_same_candle_leave_only_that_candle_out(
    server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    """Nothing says which of them is the close."""
    fill = scored(opened, ccxt)
    fill(client, some(0, FIRST))
    fill(client, [candle("BTCUSDT", 25, 99.0), candle("BTCUSDT", 25, 98.0)])
    _, closes = after_one_batch(server, client, [one(FIRST)])
    expected = [each for each in some(FIRST - WINDOW_SIZE, FIRST) if each != one(25)]
    assert closes == [each.close for each in expected]
    assert (
        "candles missing between them: 1; candles with two closes, which are left out: 1"
        in caplog.text
    )


def test_a_gap_in_a_cache_is_counted_and_told(
    server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    scored(opened, bare)(client, [*some(0, 19), *some(25, FIRST - 1)])
    expected = [*some(0, 19), *some(25, FIRST)]
    assert after_one_batch(server, client, [one(FIRST)]) == as_window(expected)
    assert (
        f"{WINDOW_SIZE} closes from the cache {CACHE}; candles missing between them: 5"
        in caplog.text
    )


def test_what_is_older_than_a_long_gap_is_not_used(
    server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    scored(opened, bare)(client, [*some(-40, -15), *some(25, FIRST - 1)])
    assert after_one_batch(server, client, [one(FIRST)]) == as_window(some(25, FIRST))
    assert "39 candles are missing between " in caplog.text
    assert "with which a window starts over: what is older is not used" in caplog.text


def test_prices_that_come_again_are_missing_in_a_sorted_set_and_counted(
    server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    """Its members are unique: the second 100.5 moves the first one."""
    closes = [100 + number / 10 for number in range(FIRST)]
    closes[24] = closes[28] = 100.5
    candles = [candle("BTCUSDT", i, close) for i, close in enumerate(closes)]
    scored(opened, bare)(client, candles)
    expected = [each for i, each in enumerate(candles) if i not in (5, 24)] + [one(FIRST)]
    assert after_one_batch(server, client, [one(FIRST)]) == as_window(expected)
    assert "; candles missing between them: 1; in a sorted set, a price that" in caplog.text


REFUSED: dict[str, tuple[Fill, str]] = {
    "hourly candles": (
        scored(lambda c: opened(c) * 60 - opened(one(FIRST)) * 59, bare),
        "its values are 3,600 s apart, and the candle interval is 60 s",
    ),
    "seconds": (
        scored(lambda c: (opened(c) - opened(one(FIRST))) / 60 + opened(one(FIRST)), bare),
        "its values are 1 s apart, and the candle interval is 60 s",
    ),
    "hourly candles by their own times": (
        pushed("LPUSH", lambda c: named(opened(c), "t", c.close, T=opened(c) + 3_599_999)),
        "it has values with 3,600 s between 't' and 'T'; a candle has 60 s",
    ),
    "another interval by name": (
        pushed("LPUSH", lambda c: named(opened(c), "t", c.close, interval="1h")),
        "it has no close before the first candle; 31 of its values are of the interval '1h'",
    ),
    "another symbol": (
        pushed("LPUSH", lambda c: named(opened(c), "t", c.close, symbol="ETHUSDT")),
        "it has values of the symbol 'ETHUSDT' ('symbol')",
    ),
    "columns in another order": (
        pushed("LPUSH", lambda c: [opened(c), c.close - 1, c.close, c.close + 2, c.close - 2, 5.0]),
        "its arrays are not [time, open, high, low, close, volume]",
    ),
    "arrays of another length": (
        pushed("LPUSH", lambda c: [opened(c), c.close]),
        "is an array of 2; expected [time, open, high, low, close, volume]",
    ),
    "open times that end like close times": (
        pushed("LPUSH", lambda c: named(c.close_time, "t", c.close)),
        "the name of its times says open time, but they are a moment before a candle begins",
    ),
    "two times": (
        pushed("LPUSH", lambda c: named(opened(c), "time", c.close, ts=c.close_time + 40)),
        "'time' and 'ts' of its values are different times",
    ),
    "a flag that is neither true nor false": (
        pushed("LPUSH", lambda c: named(opened(c), "t", c.close, final="maybe")),
        "final is 'maybe'; expected true, false, 1 or 0",
    ),
    "flags that contradict each other": (
        pushed("LPUSH", lambda c: named(opened(c), "t", c.close, x=True, confirm="0")),
        "x says that the candle has closed, but confirm says that it has not",
    ),
    "scores that are not times": (
        scored(lambda c: c.close, lambda c: opened(c) / 1),
        "is not a time",
    ),
    "nothing but what has not closed": (
        pushed("LPUSH", lambda c: named(opened(c), "t", c.close, x=False)),
        "it has no close before the first candle; 31 of its values are not closed",
    ),
    "an end long before the stream": (
        scored(lambda c: opened(c) - 40 * MINUTE_MS, bare),
        "with which a window starts over",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_cache_that_contradicts_what_is_expected_is_refused_with_the_reason(
    name: str, server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    fill, says = REFUSED[name]
    fill(client, some(0, FIRST))
    assert after_one_batch(server, client, [one(FIRST)]) == as_window([one(FIRST)])
    assert f"BTCUSDT: the cache {CACHE} is not used: " in caplog.text
    assert says in caplog.text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("open_time", "the name of its times says open time, but the closes of the stream show"),
        ("close_time", "of 5 closes that the stream has too, 5 differ: it is of another market"),
    ],
)
def test_closes_of_the_stream_that_contradict_a_cache_are_believed(
    name: str, says: str, server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    def value(each: Candle) -> object:
        if name == "open_time":
            return named(each.close_time + 1, name, each.close)
        return named(each.close_time, name, each.close + 1)

    pushed("LPUSH", value)(client, some(0, FIRST + 5))
    assert after_one_batch(server, client, some(FIRST, FIRST + 4)) == as_window(
        some(FIRST, FIRST + 4)
    )
    assert says in caplog.text


@pytest.mark.parametrize("write", ["LPUSH", "RPUSH"])
@pytest.mark.parametrize("last", [FIRST + 3, FIRST + 4, FIRST + 40])
def test_a_list_without_times_is_used_when_the_stream_confirms_its_end_and_direction(
    write: str, last: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """It may be behind the stream, or ahead of it."""
    pushed(write, bare)(client, some(0, last))
    stream = some(FIRST, FIRST + 4)
    worker = small_worker(server, window_size=30)
    feed(client, stream)
    work_off(worker)
    assert window_of(client)[1] == [each.close for each in some(5, FIRST + 4)]
    assert window_of(client)[0] == [each.close_time for each in some(5, FIRST + 4)]


@pytest.mark.parametrize("write", ["LPUSH", "RPUSH"])
def test_a_list_without_times_waits_for_candles_that_confirm_it(
    write: str, server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    """Each candle comes alone, and the cache gets it first."""
    fill = pushed(write, bare)
    fill(client, some(0, FIRST - 1))
    worker = small_worker(server)
    windows = []
    for each in some(FIRST, FIRST + 4):
        fill(client, [each])
        feed(client, [each])
        work_off(worker)
        windows.append(window_of(client))
    alone = [as_window(some(FIRST, FIRST + n)) for n in range(3)]
    confirmed = [as_window(some(0, FIRST + n)) for n in (3, 4)]
    assert windows == alone + confirmed
    assert caplog.text.count("is not used") == 1
    assert "its next candles may confirm it" in caplog.text
    assert worker.backfill.unconfirmed == set()


def test_another_worker_goes_on_waiting_for_candles_that_confirm_a_list(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    pushed("LPUSH", bare)(client, some(0, FIRST + 5))
    for number in range(4):
        worker = small_worker(server, f"worker-{number}")
        feed(client, [one(FIRST + number)])
        work_off(worker)
        worker.shards.release()
    assert window_of(client) == as_window(some(0, FIRST + 3))


CANNOT_CONFIRM: dict[str, tuple[list[float], list[float]]] = {
    "it ends before the stream begins": ([1, 2, 3, 4, 5], [6, 7, 8, 9]),
    "the price does not change": ([1, 2, 5, 5, 5, 5], [5, 5, 5, 5]),
    "it fits in two places": ([1, 2, 6, 7, 8, 9, 3, 6, 7, 8, 9], [6, 7, 8, 9]),
    "it fits in both directions": ([1, 6, 7, 6, 7, 6, 2], [6, 7, 6, 7, 6]),
    "one close differs": ([1, 2, 6, 7, 8, 10], [6, 7, 8, 9]),
}


@pytest.mark.parametrize("name", CANNOT_CONFIRM)
def test_a_list_without_times_that_may_be_read_in_more_than_one_way_is_not_used(
    name: str, server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    cached, closes = CANNOT_CONFIRM[name]
    client.rpush(CACHE, *map(str, cached))
    stream = [candle("BTCUSDT", i, close) for i, close in enumerate(closes)]
    assert after_one_batch(server, client, stream)[1] == closes
    assert "its values have no times" in caplog.text
    assert 'write values with a time, such as {"open_time": ' in caplog.text


def test_a_list_without_times_is_given_up_when_nothing_has_confirmed_it_for_long(
    server: EmbeddedRedis, client: redis.Redis, caplog: Any
) -> None:
    pushed("RPUSH", bare)(client, some(-60, -31))
    worker = small_worker(server, theta=merged_theta(None), window_size=300)
    for each in some(0, 25):
        feed(client, [each])
        work_off(worker)
    assert worker.backfill.unconfirmed == set()
    assert caplog.text.count("is not used") == 2
    assert window_of(client)[1] == [each.close for each in some(0, 25)]


def test_a_long_cache_is_read_from_its_newest_end_and_no_further_than_needed(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """A value that is too old to be of use may be anything."""
    fill = pushed("LPUSH", ccxt)
    fill(client, some(-90, -50))
    client.lpush(CACHE, "nonsense")
    fill(client, some(-49, FIRST + 1))
    assert after_one_batch(server, client, [one(FIRST)]) == as_window(some(0, FIRST))
