"""The commit: all of it or nothing, and nothing from a worker that has lost a shard."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from marketstate.worker.engine.changes import Changes, Memory
from marketstate.worker.engine.plan import Plan
from marketstate.worker.engine.status import read_status
from marketstate.worker.errors import (
    LeaseLost,
    RedisUnusable,
    RolledBack,
    SymbolsDamaged,
    WrongKeyType,
)
from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import as_envelope, candle, made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    DEAD,
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    OUTPUT,
    counters,
    everything,
    expire_leases,
    feed,
    feed_fields,
    go_back_to,
    group_info,
    published,
    snapshot,
)

COUNTERS = f"{INTERNAL_PREFIX}:counters"
BTC_SHARD = shard_of("BTCUSDT", 16)
BTC_LEASE = f"{INTERNAL_PREFIX}:lease:{shard_of('BTCUSDT', 16):02d}"
ETH_LEASE = f"{INTERNAL_PREFIX}:lease:{shard_of('ETHUSDT', 16):02d}"


def _lease_expired(client: redis.Redis) -> None:
    client.delete(BTC_LEASE)


def _another_worker_has_the_lease(client: redis.Redis) -> None:
    client.set(BTC_LEASE, "other:99", px=10_000)


def _the_same_worker_has_a_new_lease(client: redis.Redis) -> None:
    client.set(BTC_LEASE, "one:99", px=10_000)


@pytest.mark.parametrize(
    "happens", [_lease_expired, _another_worker_has_the_lease, _the_same_worker_has_a_new_lease]
)
def test_a_commit_without_the_lease_changes_nothing_at_all(
    happens: Callable[[redis.Redis], None], server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4: outputs, windows, marks, counters, dead letters and acknowledgements are all fenced."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 260))
    dead = {"payload": b'{"symbol": "BTCUSDT", "close": 0}'}
    feed_fields(client, [dead, as_envelope(candle("BTCUSDT", 3, 1.0))])
    changes = worker.advance(worker.fetch())
    happens(client)
    before = everything(client)
    with pytest.raises(LeaseLost) as lost:
        worker.apply(changes)
    assert lost.value.shards == [shard_of("BTCUSDT", 16)]
    assert everything(client) == before
    assert worker.shards.memory(shard_of("ETHUSDT", 16), "ETHUSDT") is None


def test_one_lost_lease_of_many_stops_the_whole_commit(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4: wherever the shard is in the batch."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT", "SOLUSDT"), 3))
    changes = worker.advance(worker.fetch())
    for lease in (BTC_LEASE, ETH_LEASE):
        token = client.get(lease)
        assert token is not None
        client.set(lease, "other:99")
        before = everything(client)
        with pytest.raises(LeaseLost):
            worker.apply(changes)
        assert everything(client) == before
        client.set(lease, token)
    worker.apply(changes)
    assert counters(client) == {"applied": 9}


def test_a_commit_after_the_group_was_deleted_changes_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: it could not acknowledge."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 260))
    changes = worker.advance(worker.fetch())
    client.xgroup_destroy(INPUT, GROUP)
    before = everything(client)
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        worker.apply(changes)
    assert everything(client) == before


@pytest.mark.parametrize(
    "found", ["many", "007", "-0", str(2**63 - 1), "1" + "0" * 30, "1e5", "1.5", " 1", "", "\xff"]
)
def test_a_damaged_counter_starts_again_and_keeps_what_it_was(
    found: str, server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: it ends no worker, and the commit is done as any other."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 258))
    changes = worker.advance(worker.fetch())
    client.hset(COUNTERS, mapping={"applied": found, "emitted": 40})
    worker.apply(changes)
    text = found.encode()
    assert client.hgetall(COUNTERS) == {
        b"applied": b"258",
        b"applied.damaged": text,
        b"emitted": b"42",
    }
    assert f"the counter applied in {COUNTERS} was {found!r}" in caplog.text
    assert read_status(client, worker.settings).counters == {"applied": 258, "emitted": 42}


def test_a_damaged_number_of_unfinished_entries_is_left_to_restoring(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5, G9: nobody knows it, so nothing is taken from it; the commit is done."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 2))
    changes = worker.advance(worker.fetch())
    client.hset(worker.keys.unfinished, shard_name(BTC_SHARD), "damaged")
    worker.apply(changes)
    assert client.hget(worker.keys.unfinished, shard_name(BTC_SHARD)) == b"damaged"
    assert counters(client) == {"applied": 2}


@pytest.mark.parametrize("last", ["18446744073709551615", "18446744073709551000"])
@pytest.mark.parametrize("stream", [OUTPUT, DEAD])
def test_a_stream_without_ids_left_is_found_before_the_first_write(
    stream: str, last: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: the message names it; once it is renamed, the worker goes on."""
    worker = SteppedWorker(server, "one", batch=1_000)
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 258))
    feed_fields(client, [{"no": "candle"}])
    changes = worker.advance(worker.fetch())
    client.xadd(stream, {"a": "b"}, id=f"18446744073709551615-{last}")
    before = everything(client)
    with pytest.raises(RedisUnusable, match=f"the stream {stream} takes no more entries"):
        worker.apply(changes)
    assert everything(client) == before
    client.rename(stream, f"{stream}.old")
    worker.apply(changes)
    assert counters(client) == {"applied": 516, "emitted": 4, "dead": 1}


def test_a_stream_that_gets_no_entry_may_be_at_its_end(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    client.xadd(DEAD, {"a": "b"}, id=f"{2**64 - 1}-{2**64 - 1}")
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 258))
    worker.finish_all()
    assert counters(client) == {"applied": 258, "emitted": 2}


def test_numbers_go_to_redis_as_text(server: EmbeddedRedis, client: redis.Redis) -> None:
    """G3: Redis 7.2.4 turns a number that is a multiple of 10^8 into `1e+8`. Each argument of a
    command is text already; only the numbers of keys and records are not, which spell_out.lua
    replaces.
    """
    hundred_million: dict[str, Any] = {
        "output_maxlen": 10**8,
        "dead_maxlen": 2 * 10**8,
        "publish_interval": 10**4,
    }
    worker = SteppedWorker(server, "one", **hundred_million)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 258))
    feed_fields(client, [{"no": "candle"}])
    commands = Plan(worker.advance(worker.fetch()), worker.settings).commands()
    assert {type(key) for _, key, *_ in commands} == {int}
    kinds = {
        type(word)
        for name, _, *arguments in commands
        # Of states, the first argument is the number of a record.
        for word in (name, *arguments[name in ("STATE", "ENTRIES") :])
    }
    assert kinds == {str, msgspec.Raw}
    numbers = {word for command in commands for word in command if str(word).endswith("00000000")}
    assert numbers == {"100000000", "200000000"}


def test_a_commit_is_not_written_on_older_data_than_the_worker_knows(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: Redis has gone back, and the connection has not noticed. Nothing was finished meanwhile:
    a state that was published because it was overdue would be lost, too.
    """
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 5))
    worker.finish_all()
    earlier = snapshot(client)
    worker.apply(Changes(finished={BTC_SHARD: []}))
    feed(client, made_candles(("BTCUSDT",), 7)[5:])
    changes = worker.advance(worker.fetch())
    go_back_to(client, earlier)
    before = everything(client)
    with pytest.raises(RolledBack, match=f"the last commit of shard {BTC_SHARD} is"):
        worker.apply(changes)
    assert everything(client) == before


def test_the_next_holder_does_what_the_fenced_worker_could_not(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G4, G6: and what the first one has committed is not repeated."""
    candles = made_candles(("BTCUSDT", "ETHUSDT"), 270)
    alone = SteppedWorker(server, "alone")
    alone.keep()
    feed(client, candles)
    alone.finish_all()
    expected = published(client), counters(client)
    client.flushall()

    paused = SteppedWorker(server, "paused", batch=100)
    paused.keep()
    feed(client, candles)
    paused.apply(paused.advance(paused.fetch()))
    in_hand = paused.advance(paused.fetch())
    expire_leases(client)
    successor = SteppedWorker(server, "successor", batch=100)
    assert successor.keep() == list(range(16))
    successor.finish_all()
    with pytest.raises(LeaseLost):
        paused.apply(in_hand)
    assert (published(client), counters(client)) == expected
    assert group_info(client)["pending"] == 0


def test_a_release_leaves_a_lease_of_another_worker_alone(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    client.set(BTC_LEASE, "other:99")
    worker.shards.release()
    assert client.keys(f"{INTERNAL_PREFIX}:lease:*") == [BTC_LEASE.encode()]


@pytest.mark.parametrize(
    "key",
    [
        "quantum:stream:marketstate",
        "quantum:stream:marketstate.dead",
        f"{INTERNAL_PREFIX}:counters",
        f"{INTERNAL_PREFIX}:shard:{shard_of('ETHUSDT', 16):02d}",
    ],
)
def test_a_key_of_the_wrong_type_is_found_before_the_first_write(
    key: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: Redis does not roll back a script that fails half-way."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 2))
    changes = worker.advance(worker.fetch())
    client.delete(key)
    client.sadd(key, "x")
    before = everything(client)
    with pytest.raises(WrongKeyType, match=f"the key {key} holds a set"):
        worker.apply(changes)
    assert everything(client) == before


@pytest.mark.parametrize(
    "key", ["quantum:marketstate:ETHUSDT", f"{INTERNAL_PREFIX}:window:ETHUSDT"]
)
def test_a_key_of_a_symbol_with_the_wrong_type_is_named_with_it_before_the_first_write(
    key: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G9"""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 2))
    changes = worker.advance(worker.fetch())
    client.delete(key)
    client.sadd(key, "x")
    before = everything(client)
    with pytest.raises(SymbolsDamaged) as damaged:
        worker.apply(changes)
    assert damaged.value.reasons == {"ETHUSDT": f"{key} holds a set; rename or delete it"}
    assert everything(client) == before


def test_a_full_redis_refuses_a_commit_as_a_whole(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 260))
    changes = worker.advance(worker.fetch())
    before = everything(client)
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(redis.RedisError):
            worker.apply(changes)
    finally:
        client.config_set("maxmemory", "0")
    assert everything(client) == before


def test_windows_in_redis_are_what_the_worker_remembers(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: a successor starts with the same closes and marks, bit for bit."""
    first = SteppedWorker(server, "first", batch=37)
    first.keep()
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 310))
    first.finish_all()
    expected = {symbol: _remembered(first, symbol) for symbol in ("BTCUSDT", "ETHUSDT")}
    first.shards.release()
    second = SteppedWorker(server, "second")
    second.keep()
    assert {symbol: _remembered(second, symbol) for symbol in expected} == expected
    assert client.llen(f"{INTERNAL_PREFIX}:window:BTCUSDT") == 300


def _remembered(worker: SteppedWorker, symbol: str) -> tuple[list[float], int, int]:
    memory = worker.shards.memory(shard_of(symbol, 16), symbol)
    assert isinstance(memory, Memory)
    window = memory.window
    return window.closes().tolist(), window.last_close_time_ms, memory.mark.close_time_ms


def test_the_published_hash_expires_after_ten_times_what_passes_between_two_states(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = SteppedWorker(server, "one", publish_interval=70)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 257))
    worker.finish_all()
    assert 1_199_000 < client.pttl("quantum:marketstate:BTCUSDT") <= 1_200_000


def test_output_and_dead_letters_are_capped(server: EmbeddedRedis, client: redis.Redis) -> None:
    worker = SteppedWorker(server, "one", output_maxlen=100, dead_maxlen=100)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 800))
    feed_fields(client, [{"no": "candle"}] * 500)
    worker.finish_all()
    # `MAXLEN ~` trims whole nodes of 100 entries.
    assert 100 <= client.xlen("quantum:stream:marketstate") < 300
    assert 100 <= client.xlen("quantum:stream:marketstate.dead") < 300
    assert counters(client) == {"applied": 800, "emitted": 544, "dead": 500}
    assert client.xlen(INPUT) == 1300
