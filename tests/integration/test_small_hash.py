"""The hash of a symbol: its documented fields in their order, in Redis's small encoding, always."""

from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.market_state import (
    HashFields,
    decode_market_state,
    encode_record,
    hash_fields,
)
from marketstate.schemas.reader import latest_state
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.small_workers import FILLED, SYMBOLS, candles_of, small_worker, work_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import feed, published

STATE = "quantum:marketstate:BTCUSDT"
RECORD = "quantum:marketstate-record:BTCUSDT"
# As schemas/README.md has them.
DOCUMENTED = (
    *("sigma", "mu", "ts", "p_trend", "p_mr", "p_chop", "dp", "vr", "spike_proxy"),
    *("ts_timestamp", "buffer_size"),
)


def with_states(server: EmbeddedRedis, client: redis.Redis, **settings: Any) -> SteppedWorker:
    worker = small_worker(server, **settings)
    feed(client, candles_of(SYMBOLS, 0, FILLED - 1))
    work_off(worker)
    return worker


def one_more_state(client: redis.Redis, worker: SteppedWorker, number: int = FILLED) -> None:
    feed(client, candles_of(SYMBOLS, number, number))
    work_off(worker)


def judge(client: redis.Redis) -> None:
    """The hash is that of the last entry, and nothing shows what was there before."""
    fields: Any = client.hgetall(STATE)
    last = published(client)["BTCUSDT"][-1]
    record = decode_market_state(last)
    assert list(fields) == [name.encode() for name in DOCUMENTED]
    expected = msgspec.structs.asdict(hash_fields(record))
    assert {name.decode(): value.decode() for name, value in fields.items()} == expected
    assert client.object("encoding", STATE) in (b"listpack", b"ziplist")
    assert client.get(RECORD) == last[b"record"]
    assert latest_state(client, "BTCUSDT") == record


def test_the_hash_has_the_documented_fields_in_their_order_and_is_small(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    assert HashFields.__struct_fields__ == DOCUMENTED
    worker = with_states(server, client)
    judge(client)
    one_more_state(client, worker)
    judge(client)


def _of_a_0_1_worker(client: redis.Redis) -> None:
    """With the record in it, as a hash table in an order of Redis's own."""
    last = published(client)["BTCUSDT"][-1]
    record = decode_market_state(last)
    client.delete(STATE, RECORD)
    fields: Any = msgspec.structs.asdict(hash_fields(record)) | {"record": encode_record(record)}
    client.hset(STATE, mapping=fields)
    client.pexpire(STATE, 600_000)
    assert client.object("encoding", STATE) == b"hashtable"


def _with_fields_of_another_program(client: redis.Redis) -> None:
    client.hset(STATE, mapping={"note": "x" * 100, "regime": "trend"})


def _that_once_had_a_long_field(client: redis.Redis) -> None:
    """It is gone, and Redis never goes back to the small encoding by itself."""
    client.hset(STATE, "note", "x" * 100)
    client.hdel(STATE, "note")
    assert client.object("encoding", STATE) == b"hashtable"


def _in_another_order(client: redis.Redis) -> None:
    fields: Any = client.hgetall(STATE)
    client.delete(STATE)
    client.hset(STATE, mapping=dict(reversed(fields.items())))


@pytest.mark.parametrize("restarts", [False, True], ids=["same worker", "another worker"])
@pytest.mark.parametrize(
    "found",
    [
        _of_a_0_1_worker,
        _with_fields_of_another_program,
        _that_once_had_a_long_field,
        _in_another_order,
    ],
)
def test_the_next_state_restores_a_hash_that_others_have_written_to(
    found: Any, restarts: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = with_states(server, client)
    found(client)
    if restarts:
        worker.shards.release()
        worker = small_worker(server, "two")
    one_more_state(client, worker)
    judge(client)


@pytest.mark.parametrize("prefix", ["quantum:marketstate:", "states:"])
def test_no_key_but_the_hashes_matches_their_pattern(
    prefix: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """So `--scan --pattern` lists the symbols."""
    with_states(server, client, output_prefix=prefix)
    found: Any = client.keys(f"{prefix}*")
    assert sorted(found) == [f"{prefix}{symbol}".encode() for symbol in SYMBOLS]
    assert latest_state(client, "BTCUSDT", prefix) is not None


def test_the_record_expires_with_the_hash_and_never_before_it(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Otherwise, the last moment of a hash would look like another program's."""
    worker = with_states(server, client)
    client.persist(RECORD)
    one_more_state(client, worker)
    with client.pipeline(transaction=True) as reads:
        reads.pttl(STATE)
        reads.pttl(RECORD)
        of_hash, of_record = reads.execute()
    assert 0 < of_hash <= of_record <= worker.settings.state_ttl_s * 1_000
