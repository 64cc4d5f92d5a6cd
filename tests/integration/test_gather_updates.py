"""`marketstate gather --updates`: the last update before the next candle begins is the close."""

from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.entry_id import entry_time_ms, parse_entry_id
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import MINUTE_MS, START_MS, as_cryptofeed, candle, made_candles
from tests.support.gathering import (
    SteppedGatherer,
    add,
    counted,
    gathered,
    id_at,
    pending,
    raw_update,
    updates_of,
)
from tests.support.worker_process import dead_letters

RAW = "quantum:stream:exchange.raw"


def feed(client: redis.Redis, *entries: tuple[str, Any]) -> None:
    for entry_id, fields in entries:
        add(client, RAW, fields, entry_id)


def whole(one: Candle) -> Candle:
    """As it comes out: these entries name no interval."""
    return msgspec.structs.replace(one, interval=None)


def test_the_last_update_of_a_candle_is_its_close_and_the_current_one_stays_pending(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    candles = made_candles(("BTCUSDT",), 5)
    gatherer = SteppedGatherer(server, RAW, updates=True)
    for number, one in enumerate(candles):
        for entry_id, fields in updates_of(one):
            feed(client, (entry_id, fields))
            gatherer.work()
            assert gathered(client) == [whole(each) for each in candles[:number]]
            assert len(pending(client, RAW)) == 1
    assert counted(client) == {"gathered": 4, "superseded": 10}


@pytest.mark.parametrize("batches", [1, 2, 3, 7])
def test_a_crash_between_any_two_batches_changes_nothing(
    batches: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: two exchanges and three symbols, whose updates are mixed."""
    candles = made_candles(("A", "B", "C"), 6)
    updates = [pair for one in candles for pair in updates_of(one)]
    updates += [
        (id_at(entry_time_ms(entry_id)), fields | {"exchange": "bybit", "close": "9.0"})
        for entry_id, fields in updates
    ]
    updates.sort(key=lambda pair: parse_entry_id(pair[0]))
    for at in range(0, len(updates), batches):
        feed(client, *updates[at : at + batches])
        crashing = SteppedGatherer(server, RAW, updates=True, exchange="binance")
        crashing.read_and_drop()
        crashing.read_and_drop()
        SteppedGatherer(server, RAW, updates=True, exchange="Binance").work()
    expected = [whole(one) for one in candles[:-3]]
    assert sorted(gathered(client), key=lambda one: (one.close_time, one.symbol)) == expected
    counts = counted(client)
    assert (counts["gathered"], counts["other_exchange"]) == (15, len(updates) // 2)
    assert len(pending(client, RAW)) == 3


def test_a_candle_whose_last_update_is_missing_is_left_out_and_told(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The feed was away when it closed, so nobody knows its close."""
    first, second, third = made_candles(("BTCUSDT",), 3)
    feed(client, *updates_of(first, (5.0, 57.5)), *updates_of(second, (5.0, 30.0)))
    feed(client, *updates_of(third))
    SteppedGatherer(server, RAW, updates=True).work()
    assert gathered(client) == [whole(first)]  # within a twentieth of its interval
    assert counted(client)["incomplete"] == 1
    assert (
        "BTCUSDT: the last update of the candle that closes at 2025-05-04 15:41:59" in caplog.text
    )
    assert "was written 30.0 s before that" in caplog.text


def test_how_long_before_its_end_a_candle_may_be_silent_can_be_set(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Some exchanges send updates only when there is a trade."""
    first, second, third = made_candles(("BTCUSDT",), 3)
    feed(client, *updates_of(first, (5.0, 30.0)), *updates_of(second, (5.0,)), *updates_of(third))
    SteppedGatherer(server, RAW, updates=True, max_silence_s=30.0).work()
    assert gathered(client) == [whole(first)]


def test_an_update_of_an_older_candle_changes_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    first, second, third = made_candles(("BTCUSDT",), 3)
    feed(client, *updates_of(first), ("*", raw_update(second)), ("*", raw_update(first)))
    feed(client, ("*", raw_update(third)))
    SteppedGatherer(server, RAW, updates=True).work()
    assert gathered(client) == [whole(first), whole(second)]
    assert counted(client)["late"] == 1


def test_an_update_from_the_future_does_not_close_a_candle(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Else every later update of its symbol would be late."""
    one = candle("BTCUSDT", 0, 1.5)
    feed(client, *updates_of(one, (5.0,)))
    [(last_id, last)] = updates_of(one, (60.1,))
    far = candle("BTCUSDT", 10, 9.5)
    feed(client, (id_at(START_MS + 6_000), raw_update(far)), (last_id, last))
    feed(client, *updates_of(candle("BTCUSDT", 1, 2.5)))
    SteppedGatherer(server, RAW, updates=True).work()
    assert [each.close for each in gathered(client)] == [1.5]
    [letter] = dead_letters(client)
    assert b"more than an interval after this update was written" in letter[b"error"]


def test_flags_of_exchanges_are_not_trusted(server: EmbeddedRedis, client: redis.Redis) -> None:
    """In cryptofeed, those of most exchanges are always false, and one's is always true."""
    for number in range(3):
        one = candle("A", number, 10.5 + number)
        for s, close, closed in ((10.0, 99.0, "True"), (60.1, one.close, "False")):
            fields = as_cryptofeed(one) | {"close": str(close), "closed": closed}
            written_ms = START_MS + number * MINUTE_MS + s * 1_000
            add(client, "candles-OKX-A", fields, id_at(written_ms))
    SteppedGatherer(server, "candles-*", updates=True).work()
    assert [(one.close, one.interval) for one in gathered(client)] == [(10.5, "1m"), (11.5, "1m")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"init": "1"}, b"no known field"),
        ({"symbol": "A", "close": "1.5", "timestamp": "soon"}, b"'soon' is not a time"),
        (
            {"symbol": "A", "close": "1.5", "timestamp": "1746373200", "interval": "60"},
            b"interval '60' cannot be read",
        ),
        ({"symbol": "A", "close": "-1", "timestamp": "1746373200"}, b"close is -1.0"),
        ({"symbol": "A", "close": "1", "timestamp": "1746373200", "exchange": "\n"}, b"printable"),
    ],
)
def test_what_is_not_an_update_becomes_a_dead_letter(
    fields: dict[str, str], words: bytes, server: EmbeddedRedis, client: redis.Redis
) -> None:
    add(client, RAW, fields)
    SteppedGatherer(server, RAW, updates=True).work()
    [letter] = dead_letters(client)
    assert (words in letter[b"error"], pending(client, RAW)) == (True, []), letter


def test_the_open_time_may_have_its_own_name(server: EmbeddedRedis, client: redis.Redis) -> None:
    for number in range(2):
        opened_ms = candle("A", number, 1.5).open_time
        fields = {"symbol": "A", "close": "1.5", "open_time": str(opened_ms), "interval": "1m"}
        add(client, RAW, fields)
    SteppedGatherer(server, RAW, updates=True).work()
    assert [one.close_time for one in gathered(client)] == [candle("A", 0, 1.5).close_time]
