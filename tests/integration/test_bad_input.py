"""Bad input never stops the worker, and none of it is lost silently (G5)."""

import json
from pathlib import Path
from typing import Any

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import as_envelope, candle, made_candles
from tests.support.worker_process import (
    INPUT,
    WorkerProcess,
    counters,
    dead_letters,
    feed,
    feed_fields,
    group_info,
    published,
    wait_until_finished,
)

GOOD = json.loads(as_envelope(candle("BTCUSDT", 0, 100.0))["payload"])
LARGE = b'{"symbol": "BTCUSDT", "x": "' + b"x" * 10_000_000 + b'"}'


def payload(**changes: object) -> dict[str, bytes]:
    kept = {name: value for name, value in (GOOD | changes).items() if value != "absent"}
    return {"event_type": b"market.klines", "payload": json.dumps(kept).encode()}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "not JSON": (
        {"payload": b"candle"},
        "field 'payload' (JSON) is not a candle: JSON is malformed",
    ),
    "JSON but not an object": ({"payload": b"[1, 2]"}, "Expected `object`, got `array`"),
    "no symbol": (payload(symbol="absent"), "missing required field `symbol`"),
    "10 MB": ({"payload": LARGE}, "has 10,000,030 bytes; at most 65,536 are read"),
    "price 0": (payload(close=0), "close is 0.0; a price must be finite and above 0"),
    "negative price": (payload(close=-1.5), "close is -1.5; a price must be finite and above 0"),
    "NaN": (payload(close=float("nan")), "JSON has no NaN or Infinity"),
    "infinity": (payload(close="inf"), "close is inf; a price must be finite and above 0"),
    "text for a price": (payload(close="abc"), "`$.close`"),
    "seconds": (
        payload(close_time=1_746_373_259),
        "it must be in milliseconds (is it in seconds?)",
    ),
    "far future": (payload(close_time=4_000_000_000_000), "s after the entry was written"),
    "no close": (payload(close="absent"), "missing required field `close`"),
    "invalid UTF-8": ({"payload": b'{"symbol": "BTC\xff"}'}, "is not valid UTF-8"),
    "no known field": ({"what": b"ever"}, "no known field among 'what'"),
    "other event": ({"event_type": b"market.trades"}, "expected 'market.klines'"),
    "two symbols": (
        {"payload": b'{"symbol": "AAA", ' + json.dumps(GOOD).encode()[1:]},
        "names more than one symbol, 'AAA' and 'BTCUSDT'",
    ),
}


def test_bad_input_becomes_a_dead_letter_and_the_next_candle_is_processed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5: the dead letter has the reason, where it came from, and the original fields."""
    sources: dict[str, Any] = {}
    with WorkerProcess(server.port, tmp_path, start="replay") as worker:
        for number, (name, (fields, _)) in enumerate(BAD.items()):
            sources[name] = client.xadd(INPUT, dict[Any, Any](fields))
            feed(client, [candle("BTCUSDT", number, 100.0)])
            wait_until_finished(client, 2 * (number + 1))
            assert counters(client) == {"dead": number + 1, "applied": number + 1}, name
        assert worker.terminate() == 0
    letters = dict(zip(BAD, dead_letters(client), strict=True))
    for name, (fields, reason) in BAD.items():
        letter, source_id = letters[name], sources[name]
        assert reason in letter[b"error"].decode()
        assert (letter[b"source_stream"], letter[b"source_id"]) == (INPUT.encode(), source_id)
        for field, value in fields.items():
            assert letter[field.encode()] == value[:65_536], name
    first = sources["not JSON"].decode()
    assert f"entry {first} is a dead letter" in worker.log, "of many more, one in a while"
    assert group_info(client)["pending"] == 0


def test_bad_input_among_candles_does_not_change_what_is_published(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, G5: what is published is a function of the candles alone."""
    entries = [as_envelope(one) for one in made_candles(("BTCUSDT", "ETHUSDT"), 262)]
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed_fields(client, entries)
        wait_until_finished(client, len(entries))
    expected = published(client)
    client.flushall()

    bad = [fields for fields, _ in BAD.values()]
    mixed = [
        fields
        for i, entry in enumerate(entries)
        for fields in (bad[i // 20 % len(bad)], entry)
        if i % 20 == 0 or fields is entry
    ]
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed_fields(client, mixed)
        wait_until_finished(client, len(mixed))
    assert published(client) == expected
    assert client.xlen("quantum:stream:marketstate.dead") == len(mixed) - len(entries)


def test_candles_that_are_not_for_this_group_are_ignored_and_counted(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5: not closed, another interval, a symbol that is not wanted; duplicates and late ones."""
    entries = [
        payload(is_closed=False),
        payload(is_closed="absent", confirm="False"),
        payload(interval="5m"),
        payload(interval="FIVE_MINUTES"),
        payload(interval="60"),
        payload(interval="60"),
        payload(symbol="DOGEUSDT"),
        as_envelope(candle("BTCUSDT", 5, 100.0)),
        as_envelope(candle("BTCUSDT", 5, 101.0)),
        as_envelope(candle("BTCUSDT", 5, 100.0)),
        as_envelope(candle("BTCUSDT", 4, 100.0)),
        as_envelope(candle("BTCUSDT", 9, 100.0)),
    ]
    with WorkerProcess(server.port, tmp_path, symbols="BTCUSDT,ETHUSDT") as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed_fields(client, entries)
        wait_until_finished(client, len(entries))
        worker.terminate()
    expected = {"unclosed": 2, "ignored": 5, "applied": 2, "late": 1, "gap": 1}
    assert counters(client) == expected | {"duplicate": 1, "revised": 1}
    assert worker.log.count("candles of 5m are ignored") == 1
    assert worker.log.count("candles of '60' are ignored, which is an interval that cannot be") == 1
    assert worker.log.count("has the close 101.0 for the candle of 2025-05-04 15:45:59 UTC") == 1
    assert "BTCUSDT: candles missing between 2025-05-04 15:4" in worker.log
    assert "is late: its candle closed at" in worker.log
