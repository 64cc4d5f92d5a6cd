"""The latest states of many symbols, by a plain client and by one of asyncio."""

import asyncio
from typing import Any

import msgspec
import pytest
import redis
from redis import asyncio as aio

from marketstate.schemas import aio as readers_of_asyncio
from marketstate.schemas import reader as readers
from marketstate.schemas.latest import Latest
from marketstate.schemas.longer import interval_prefix
from marketstate.schemas.market_state import (
    UnknownRecord,
    UnknownSchema,
    encode_record,
    hash_fields,
    record_key,
)
from marketstate.schemas.partitions import partition_of, partition_prefix
from marketstate.schemas.reader import OUTPUT_PREFIX
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.readers import KINDS
from tests.support.records import make_record, publish
from tests.support.redis_cluster import LocalCluster

PARTITIONS = 16

BOTH = pytest.mark.parametrize("kind", KINDS)


def latest(kind: str, port: int, *arguments: Any, client: str = "Redis", **options: Any) -> Any:
    """`latest_states` with a default client; of one text, `latest_state`."""
    name = "latest_state" if isinstance(arguments[0], str) else "latest_states"
    if kind == "plain":
        with getattr(redis, client)(host="127.0.0.1", port=port) as plain:
            return getattr(readers, name)(plain, *arguments, **options)

    async def ask() -> Any:
        async with getattr(aio, client)(host="127.0.0.1", port=port) as asynchronous:
            return await getattr(readers_of_asyncio, name)(asynchronous, *arguments, **options)

    return asyncio.run(ask())


def write_hash(client: redis.Redis, symbol: str, **more: str) -> None:
    """Without a record: as the publisher before us does."""
    fields: Any = msgspec.structs.asdict(hash_fields(make_record(symbol, 7))) | more
    client.hset(f"{OUTPUT_PREFIX}{symbol}", mapping=fields)


@BOTH
def test_each_symbol_has_its_state_or_none_in_the_order_asked_for(
    kind: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    btc, eth, old = (make_record(name, i) for i, name in enumerate(("BTCUSDT", "ETHUSDT", "OLD")))
    publish(client, (btc, eth))
    write_hash(client, "OLD", record=encode_record(old))
    found = latest(kind, server.port, ["OLD", "NONE", "ETHUSDT", "BTCUSDT", "OLD"])
    assert list(found.items()) == [
        ("OLD", old),
        ("NONE", None),
        ("ETHUSDT", eth),
        ("BTCUSDT", btc),
    ]
    assert latest(kind, server.port, "ETHUSDT") == eth
    assert latest(kind, server.port, []) == {}


@BOTH
def test_the_states_of_a_longer_interval_are_found(
    kind: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish(client, [make_record("BTCUSDT", 1)])
    longer = msgspec.structs.replace(make_record("BTCUSDT", 2), interval="5m")
    prefix = interval_prefix(OUTPUT_PREFIX, "5m")
    client.set(record_key(prefix, "BTCUSDT"), encode_record(longer))
    assert latest(kind, server.port, ["BTCUSDT"], interval="5m") == {"BTCUSDT": longer}
    assert latest(kind, server.port, "BTCUSDT", interval="5m") == longer


@BOTH
def test_a_state_that_cannot_be_read_is_named_or_skipped_and_costs_no_other(
    kind: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9"""
    btc = make_record("BTCUSDT", 1)
    publish(client, [btc])
    write_hash(client, "FOREIGN")
    client.set(f"{OUTPUT_PREFIX}TEXT", "of another program")
    client.set(record_key(OUTPUT_PREFIX, "LATER"), '{"schema": 2}')
    for symbol, error, text in (
        ("FOREIGN", UnknownRecord, "quantum:marketstate:FOREIGN has no record at "),
        ("TEXT", UnknownRecord, "quantum:marketstate:TEXT is of another type: another program"),
        ("LATER", UnknownSchema, "quantum:marketstate-record:LATER: its record has schema 2"),
    ):
        with pytest.raises(error, match=text):
            latest(kind, server.port, ["BTCUSDT", symbol])
        found = latest(kind, server.port, [symbol, "BTCUSDT"], on_unknown="skip")
        assert found == {symbol: None, "BTCUSDT": btc}


@BOTH
def test_a_refusal_is_raised_whatever_is_skipped(
    kind: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    client.acl_setuser("default", enabled=True, commands=["-hgetall"])
    try:
        with pytest.raises(redis.exceptions.NoPermissionError):
            latest(kind, server.port, ["BTCUSDT"], on_unknown="skip")
    finally:
        client.acl_setuser("default", enabled=True, commands=["+hgetall"])


def test_a_thousand_symbols_are_read_in_one_round_trip(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    symbols = [f"SYM{i}" for i in range(1_000)]
    publish(client, (make_record(symbol, 1) for symbol in symbols))
    sent = []

    class Watched(redis.Connection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            sent.append(command)
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    pool = redis.ConnectionPool(connection_class=Watched, host="127.0.0.1", port=server.port)
    with redis.Redis.from_pool(pool) as watched:
        watched.ping()
        sent.clear()
        found = readers.latest_states(watched, symbols)
    assert len(sent) == 1
    assert [found[symbol] for symbol in symbols] == [make_record(symbol, 1) for symbol in symbols]


def test_one_symbol_alone_is_not_taken_for_many() -> None:
    with pytest.raises(TypeError, match="'BTCUSDT'; give a list"):
        readers.latest_states(redis.Redis(), "BTCUSDT")


def test_a_state_that_expires_while_it_is_read_is_none() -> None:
    """The hash was there, its record and the hash itself no longer are."""
    wanted = Latest(["BTCUSDT"], OUTPUT_PREFIX, None)
    fields = msgspec.structs.asdict(hash_fields(make_record("BTCUSDT", 1)))
    assert wanted.states([fields, None, 0], "raise") == {"BTCUSDT": None}
    with pytest.raises(UnknownRecord):
        wanted.states([fields, None, 1], "raise")


@BOTH
@pytest.mark.one_redis_version
# redis-py 6 warns of what it does itself.
@pytest.mark.filterwarnings("ignore:.*'cluster_error_retry_attempts':DeprecationWarning")
def test_of_partitions_each_symbol_is_found_in_its_own_also_on_a_cluster(
    kind: str, cluster: LocalCluster, server: EmbeddedRedis, client: redis.Redis
) -> None:
    states = {f"SYM{i}": make_record(f"SYM{i}", i) for i in range(40)}
    there: Any = redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    with there:
        for symbol, record in states.items():
            prefix = partition_prefix(OUTPUT_PREFIX, partition_of(symbol, PARTITIONS))
            for each in (client, there):
                each.set(record_key(prefix, symbol), encode_record(record))
    wanted = [*states, "NONE"]
    for port, name in ((server.port, "Redis"), (cluster.nodes[1].port, "RedisCluster")):
        found = latest(kind, port, wanted, partitions=PARTITIONS, client=name)
        assert found == states | {"NONE": None}
        assert latest(kind, port, "SYM7", partitions=PARTITIONS, client=name) == states["SYM7"]


def test_a_task_that_is_cancelled_while_its_client_connects_ends(server: EmbeddedRedis) -> None:
    async def cancelled_after(delay_s: float) -> None:
        async with aio.Redis(host="127.0.0.1", port=server.port) as there:
            task = asyncio.create_task(readers_of_asyncio.latest_states(there, ["BTCUSDT"]))
            await asyncio.sleep(delay_s)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task

    async def cancel() -> None:
        for number in range(100):
            await cancelled_after(number % 20 / 4_000)

    asyncio.run(cancel())
