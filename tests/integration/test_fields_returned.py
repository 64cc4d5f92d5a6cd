"""Of an entry with a payload, a worker gets the fields that it reads; a dead letter has all."""

from typing import Any

import pytest
import redis

from marketstate.schemas.candle import WRITTEN_MS, encode_envelope
from marketstate.worker.engine.changes import Reading
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle
from tests.support.small_workers import small_worker
from tests.support.worker_process import INPUT, counters, dead_letters

pytestmark = pytest.mark.one_redis_version

ENVELOPE: dict[Any, Any] = encode_envelope(candle("BTCUSDT", 1, 100.0), source="upstream")
WITHOUT_CLOSE = b'{"symbol": "BTCUSDT", "close_time": 1700000099999}'
FLAT = {"symbol": "BTCUSDT", "close": "1.5", "close_time": "1700000099999", "trace_id": "7"}
ENTRIES: list[dict[Any, Any]] = [
    ENVELOPE,
    ENVELOPE | {"event_type": "market.trades"},
    ENVELOPE | {WRITTEN_MS: "1700000000000"},
    ENVELOPE | {WRITTEN_MS: "yesterday"},
    ENVELOPE | {"data": b"hello"},
    ENVELOPE | {"payload": b"market.klines"},
    {"payload": ENVELOPE["payload"]},
    {"data": ENVELOPE["payload"], "trace_id": "7"},
    {"trace_id": "7", "data": b"hello", "payload": ENVELOPE["payload"], "symbol": "ETHUSDT"},
    FLAT,
    FLAT | {"payload": b"hello"},
    FLAT | {"close": "1.5.2"},
    {"trace_id": "7"},
]


@pytest.mark.parametrize("fields", ENTRIES, ids=range(len(ENTRIES)))
def test_what_a_worker_gets_of_an_entry_reads_as_the_whole_entry_does(
    fields: dict[Any, Any], server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5"""
    worker = small_worker(server)
    client.xadd(INPUT, fields)
    [got] = worker.fetch()
    whole = {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in fields.items()
    }
    [expected] = worker.pipeline.read([got.entry._replace(fields=whole)])
    assert in_words(got) == in_words(expected)


def in_words(reading: Reading) -> str:
    return repr(reading.found)


def test_the_fields_that_nobody_reads_are_not_returned(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server)
    client.xadd(INPUT, ENVELOPE)
    [got] = worker.fetch()
    assert set(got.entry.fields) == {b"payload"}


def test_a_dead_letter_has_every_field_of_its_entry_in_order(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5"""
    worker = small_worker(server)
    entry_id = client.xadd(INPUT, ENVELOPE | {"payload": WITHOUT_CLOSE})
    worker.work_on_a_batch()
    [letter] = dead_letters(client)
    names = [*ENVELOPE, "error", "source_stream", "source_id"]
    # Our name replaces the publisher's, which stands first.
    assert list(letter) == [name.encode() for name in names]
    assert letter[b"payload"] == WITHOUT_CLOSE
    assert letter[b"correlation_id"] == str(ENVELOPE["correlation_id"]).encode()
    assert letter[b"source_id"] == entry_id


def test_a_dead_letter_whose_entry_is_trimmed_meanwhile_has_what_the_worker_got(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5"""
    worker = small_worker(server)
    client.xadd(INPUT, ENVELOPE | {"payload": WITHOUT_CLOSE})
    readings = worker.fetch()
    client.xtrim(INPUT, maxlen=0, approximate=False)
    worker._process(readings)
    [letter] = dead_letters(client)
    assert letter[b"payload"] == WITHOUT_CLOSE
    assert b"close" in letter[b"error"]
    assert b"correlation_id" not in letter


def test_of_two_fields_with_one_name_the_last_counts_also_if_it_is_the_usual_type(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: as in a reader's dict."""
    worker = small_worker(server)
    for types in (("market.trades", "market.klines"), ("market.klines", "market.trades")):
        fields = [part for name in types for part in ("event_type", name)]
        raw: Any = client
        raw.execute_command("XADD", INPUT, "*", *fields, "payload", ENVELOPE["payload"])
    worker.work_on_a_batch()
    [letter] = dead_letters(client)
    assert b"market.trades" in letter[b"error"]
    assert counters(client)["applied"] == 1
