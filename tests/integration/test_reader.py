"""The downstream reader: it skips nothing, whatever fails."""

import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from redis import asyncio as aio

from marketstate.schemas.market_state import (
    MarketStateRecord,
    UnknownRecord,
    UnknownSchema,
    encode_record,
    hash_fields,
    record_key,
    stream_fields,
)
from marketstate.schemas.partitions import partition_key, partition_of, partition_prefix
from marketstate.schemas.reader import (
    OUTPUT_PREFIX,
    OUTPUT_STREAM,
    StateReader,
    is_stale,
    latest_state,
)
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from tests.support.processes import PATIENCE_S
from tests.support.records import make_record, publish
from tests.support.worker_process import wait_until

PASSING = (redis.ConnectionError, redis.TimeoutError)
MINUTE_MS = 60_000


def publish_numbers(client: redis.Redis, count: int, first: int = 0) -> None:
    publish(client, (make_record("BTCUSDT", number) for number in range(first, first + count)))


def reader_of(client: Any, **changes: Any) -> StateReader:
    given: dict[str, Any] = {"group": "sizing", "consumer": "one", "start": "0", "block_ms": 20}
    return StateReader(client, **(given | changes))


def numbers(reader: StateReader, most: int) -> list[int]:
    """The first `most` states; the last one is acknowledged too."""
    found = []
    in_vain = threading.Timer(PATIENCE_S, reader.stop)
    in_vain.start()
    for record in reader:
        found.append(record.buffer_size)
        if len(found) == most:
            reader.stop()
    in_vain.cancel()
    return found


def pending(client: redis.Redis) -> int:
    summary: Any = client.xpending(OUTPUT_STREAM, "sizing")
    return int(summary["pending"])


@pytest.fixture(params=["bytes", "text", "RESP3"])
def any_client(request: pytest.FixtureRequest, server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A redis client in each configuration that a caller may have."""
    options: Any = {
        "bytes": {"protocol": 2},
        "text": {"protocol": 2, "decode_responses": True, "encoding_errors": "replace"},
        "RESP3": {"protocol": 3},
    }[request.param]
    with redis.Redis(host="127.0.0.1", port=server.port, **options) as client:
        yield client


def test_the_latest_state_of_a_symbol_or_none(client: redis.Redis, any_client: redis.Redis) -> None:
    record = make_record("BTCUSDT", 3)
    publish(client, [record])
    assert latest_state(any_client, "BTCUSDT") == record
    assert latest_state(any_client, "ETHUSDT") is None


STATE, RECORD = f"{OUTPUT_PREFIX}BTCUSDT", record_key(OUTPUT_PREFIX, "BTCUSDT")


def write_hash(client: redis.Redis, state: MarketStateRecord, **more: str) -> None:
    """Without a record: as the publisher before us does."""
    fields: Any = msgspec.structs.asdict(hash_fields(state)) | more
    client.hset(STATE, mapping=fields)


def test_the_latest_state_of_a_0_1_worker_is_in_its_hash(
    client: redis.Redis, any_client: redis.Redis
) -> None:
    record = make_record("BTCUSDT", 3)
    write_hash(client, record, record=encode_record(record))
    assert latest_state(any_client, "BTCUSDT") == record


def test_while_workers_of_both_versions_run_the_later_state_is_read(
    client: redis.Redis, any_client: redis.Redis
) -> None:
    """A later worker removes the record of the hash, so where there is one, it is newer."""
    publish(client, [make_record("BTCUSDT", 3)])
    newer = make_record("BTCUSDT", 4)
    write_hash(client, newer, record=encode_record(newer))
    assert latest_state(any_client, "BTCUSDT") == newer


def test_a_hash_of_another_program_is_refused_and_named(
    client: redis.Redis, any_client: redis.Redis
) -> None:
    write_hash(client, make_record("BTCUSDT", 3))
    with pytest.raises(UnknownRecord) as refused:
        latest_state(any_client, "BTCUSDT")
    assert str(refused.value) == (
        f"{STATE} has no record at {RECORD}: another program wrote it; stop that program"
    )


def test_a_state_is_read_although_another_program_has_overwritten_its_hash(
    client: redis.Redis, any_client: redis.Redis
) -> None:
    publish(client, [make_record("BTCUSDT", 3)])
    write_hash(client, make_record("BTCUSDT", 9))
    assert latest_state(any_client, "BTCUSDT") == make_record("BTCUSDT", 3)


@pytest.mark.parametrize(
    ("record", "kind"), [("{", UnknownRecord), ('{"schema": 2}', UnknownSchema)]
)
def test_a_record_that_cannot_be_read_is_refused_and_its_key_named(
    record: str, kind: type[Exception], client: redis.Redis, any_client: redis.Redis
) -> None:
    client.set(RECORD, record)
    with pytest.raises(kind, match=f"{RECORD}: its record "):
        latest_state(any_client, "BTCUSDT")


def test_states_arrive_in_order_and_are_acknowledged_one_by_one(
    client: redis.Redis, any_client: redis.Redis
) -> None:
    publish_numbers(client, 5)
    assert numbers(reader_of(any_client), 2) == [0, 1]
    assert pending(client) == 3
    assert numbers(reader_of(any_client), 3) == [2, 3, 4]
    assert pending(client) == 0


def test_a_state_whose_body_raised_or_broke_is_delivered_again_first(client: redis.Redis) -> None:
    publish_numbers(client, 3)

    def fail_at_the_first() -> None:
        for record in reader_of(client):
            raise ValueError(record.symbol)

    with pytest.raises(ValueError, match="BTCUSDT"):
        fail_at_the_first()
    for record in reader_of(client):
        assert record.buffer_size == 0
        break
    publish_numbers(client, 1, first=3)
    assert numbers(reader_of(client), 4) == [0, 1, 2, 3]


def test_a_new_group_starts_at_the_end_of_the_stream_by_default(
    client: redis.Redis,
) -> None:
    publish_numbers(client, 3)
    reader = reader_of(client, start="$")
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(numbers(reader, 1)))
    thread.start()
    wait_until(lambda: client.xinfo_groups(OUTPUT_STREAM), "the group exists")
    publish_numbers(client, 1, first=3)
    thread.join()
    assert found == [3]


def test_a_reader_waits_for_a_missing_stream_and_stops_when_told(
    client: redis.Redis,
) -> None:
    reader = reader_of(client)
    thread = threading.Thread(target=lambda: list(reader))
    thread.start()
    wait_until(lambda: client.exists(OUTPUT_STREAM), "the group exists")
    reader.stop()
    thread.join()
    assert list(reader) == []


class NotesBlock:
    """Has the pool of a client, and notes how long a read would wait."""

    def __init__(self, client: Any) -> None:
        self.connection_pool = client.connection_pool

    def xreadgroup(self, *_: Any, block: int | None, **__: Any) -> Any:
        if block:
            raise StopAsyncIteration(block)
        return []


@pytest.mark.parametrize("options", [{}, {"socket_timeout": 0.3}, {"socket_timeout": None}])
@pytest.mark.parametrize("module", [redis, aio])
@pytest.mark.parametrize("by_url", [False, True])
def test_no_read_waits_longer_than_half_the_socket_time_out_of_its_client(
    options: Any, module: Any, by_url: bool
) -> None:
    """Also where that is the default of the client's version."""
    client = module.Redis.from_url("redis://", **options) if by_url else module.Redis(**options)
    time_out_s = client.connection_pool.make_connection().socket_timeout
    for block_ms in (100, 60_000):
        with pytest.raises(StopAsyncIteration) as waits:
            next(iter(reader_of(NotesBlock(client), block_ms=block_ms)))
        assert waits.value.args[0] == (min(block_ms, time_out_s * 500) if time_out_s else block_ms)


@pytest.mark.one_redis_version
def test_a_wait_without_an_end_is_refused(client: redis.Redis) -> None:
    """No stop would reach it. In a cluster, it would be none at all."""
    with pytest.raises(ValueError, match="block_ms is 0, but a read waits at least 1 ms"):
        reader_of(client, block_ms=0)


class Breaking(redis.Redis):
    """A client that loses the reply to every third command, which is still executed."""

    calls = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        reply = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        self.calls += 1
        if self.calls % 3 == 0:
            raise redis.ConnectionError("lost")
        return reply


def test_lost_replies_lose_no_state_and_change_no_order(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketstate.schemas.group_streams.RETRY_S", 0.001)
    publish_numbers(client, 50)
    with Breaking(host="127.0.0.1", port=server.port) as breaking:
        found = numbers(reader_of(breaking, passing=PASSING, count=7), 50)
    assert found == list(range(50))
    assert pending(client) == 0


class Repeating(redis.Redis):
    """A client that silently repeats each command, as redis-py does when a reply is lost."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        for _ in range(2):
            reply = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        return reply


def test_a_client_that_silently_repeats_commands_loses_no_state_either(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish_numbers(client, 20)
    with Repeating(host="127.0.0.1", port=server.port) as repeating:
        found = numbers(reader_of(repeating, count=3), 20)
    assert found == list(range(20))


def test_a_reader_continues_after_redis_was_killed_and_restarted(any_server_binary: Path) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with EmbeddedRedis(any_server_binary, *durable) as server, server.client() as client:
        publish_numbers(client, 6)
        reader, found = reader_of(client, passing=PASSING, count=4), list[int]()
        for record in reader:
            found.append(record.buffer_size)
            if record.buffer_size in (1, 4):
                server.kill()
                server.start()
            if record.buffer_size == 5:
                reader.stop()
        assert found == list(range(6))
        assert pending(client) == 0


def test_other_errors_are_raised_and_the_caller_may_iterate_again(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    publish_numbers(client, 3)
    with Breaking(host="127.0.0.1", port=server.port) as breaking:
        reader = reader_of(breaking, passing=())
        found: list[int] = []
        while len(found) < 3:
            try:
                for record in reader:
                    found.append(record.buffer_size)
            except redis.ConnectionError:
                pass
    assert sorted(set(found)) == [0, 1, 2]


def test_a_lost_group_is_created_again_at_the_readers_position(client: redis.Redis) -> None:
    publish_numbers(client, 4)
    reader, found = reader_of(client), []
    for record in reader:
        found.append(record.buffer_size)
        if found == [0, 1]:
            client.xgroup_destroy(OUTPUT_STREAM, "sizing")
            publish_numbers(client, 2, first=4)
        if record.buffer_size == 5:
            reader.stop()
    assert found == list(range(6))


def test_taken_entries_that_were_trimmed_are_counted(client: redis.Redis) -> None:
    publish_numbers(client, 3)
    for _ in reader_of(client):
        break
    client.xtrim(OUTPUT_STREAM, maxlen=1, approximate=False)
    reader = reader_of(client)
    assert numbers(reader, 1) == [2]
    assert reader.trimmed == 2
    assert pending(client) == 0


def publish_between_others(client: redis.Redis) -> list[str]:
    """Three states, and between them entries of other programs, whose ids are returned."""
    others: list[Any] = [
        msgspec.structs.asdict(stream_fields(make_record("BTCUSDT", 7), "")),
        {"symbol": "BTCUSDT", "record": "{"},
        {"record": b"\xff"},
        {"record": '{"schema": 1}'},
        {"record": '{"a":' * 20_000},
        {"anything": "else"},
    ]
    others[0].pop("record")
    publish_numbers(client, 1)
    ids: list[Any] = [client.xadd(OUTPUT_STREAM, fields) for fields in others]
    publish_numbers(client, 2, first=1)
    return [entry_id.decode() for entry_id in ids]


def test_entries_of_other_programs_are_skipped_counted_and_acknowledged(
    client: redis.Redis, any_client: redis.Redis
) -> None:
    ids = publish_between_others(client)
    reader = reader_of(any_client)
    assert numbers(reader, 3) == [0, 1, 2]
    assert (reader.unknown, reader.last_unknown_id) == (len(ids), ids[-1])
    assert pending(client) == 0


def test_entries_of_other_programs_are_raised_once_with_their_id_if_asked(
    client: redis.Redis,
) -> None:
    """A new reader each time, as after a restart: none of them meets the same entry."""
    ids = publish_between_others(client)
    found: list[str | int] = []
    for _ in range(len(ids) + 1):
        reader = reader_of(client, on_unknown="raise", count=2)
        try:
            for record in reader:
                found.append(record.buffer_size)
                if record.buffer_size == 2:
                    reader.stop()
        except UnknownRecord as error:
            found.append(str(error).removeprefix("entry ").partition(" ")[0])
    assert found == [0, *ids, 1, 2]
    assert pending(client) == 0


def test_a_record_of_another_version_stays_pending_and_is_named(client: redis.Redis) -> None:
    client.xadd(OUTPUT_STREAM, {"record": '{"schema": 2}'}, id="7-1")
    for _ in range(2):
        with pytest.raises(UnknownSchema) as refused:
            next(iter(reader_of(client)))
        assert str(refused.value).startswith(f"entry 7-1 of {OUTPUT_STREAM}: its record has schema")
        assert pending(client) == 1


@pytest.mark.parametrize(
    ("interval", "publish_interval_ms", "stale_after_ms"),
    [
        ("1m", 60_000, 120_000),
        ("1m", 90_000, 240_000),
        ("1h", 60_000, 7_200_000),
        ("1s", 5_000, 10_000),
    ],
)
def test_a_state_is_stale_when_more_than_one_is_overdue(
    interval: str, publish_interval_ms: int, stale_after_ms: int
) -> None:
    record = msgspec.structs.replace(make_record("BTCUSDT", 0), interval=interval)
    latest_ms = record.close_time_ms + stale_after_ms
    assert not is_stale(record, latest_ms, publish_interval_ms)
    assert is_stale(record, latest_ms + 1, publish_interval_ms)


def test_a_state_from_the_future_is_not_fresh() -> None:
    record = make_record("BTCUSDT", 0)
    assert not is_stale(record, record.close_time_ms - 120_000)
    assert is_stale(record, record.close_time_ms - 120_001)


def test_the_readers_default_names_are_those_of_the_worker() -> None:
    settings = settings_from({})
    assert (settings.output_prefix, settings.output_stream) == (OUTPUT_PREFIX, OUTPUT_STREAM)
    record = make_record("BTCUSDT", 0)
    assert not is_stale(record, record.close_time_ms + 2 * settings.publish_interval_ms)
    assert is_stale(record, record.close_time_ms + 2 * settings.publish_interval_ms + 1)


class OneStreamAtATime:
    """Refuses what a Redis Cluster refuses: a command for the keys of several partitions."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.away = ""

    def get_node_from_key(self, key: str) -> str:
        return f"the node of {key}"

    def xgroup_create(self, name: Any, *args: Any, **options: Any) -> Any:
        self._reach(name)
        return self._client.xgroup_create(name, *args, **options)

    def execute_command(self, *words: Any, target_nodes: str) -> Any:
        *_, streams, stream, _ = words
        assert streams == "STREAMS", "the keys of one partition"
        assert target_nodes == f"the node of {stream}"
        self._reach(stream)
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def xack(self, name: Any, *args: Any) -> Any:
        return self._client.xack(name, *args)

    def _reach(self, stream: str) -> None:
        if stream == self.away:
            raise redis.ConnectionError("its node is away")


def publish_into(client: redis.Redis, partition: int, symbol: str, *numbers: int) -> None:
    for number in numbers:
        record = make_record(symbol, number)
        fields: Any = msgspec.structs.asdict(stream_fields(record, encode_record(record)))
        client.xadd(partition_key(OUTPUT_STREAM, partition), fields)


@pytest.mark.parametrize("apart", [False, True])
def test_all_partitions_are_read_as_one_and_nothing_is_skipped(
    client: redis.Redis, any_client: redis.Redis, *, apart: bool
) -> None:
    """Each symbol keeps its order; what was not acknowledged comes first after a restart."""
    through: Any = OneStreamAtATime(any_client) if apart else any_client
    for number in range(3):
        publish_into(client, 0, "BTCUSDT", number)
        publish_into(client, 1, "ETHUSDT", number)
    first = list(islice(reader_of(through, partitions=2), 4))
    reader = reader_of(through, partitions=2)
    publish_into(client, 0, "BTCUSDT", 3)
    publish_into(client, 1, "ETHUSDT", 3)
    second: list[MarketStateRecord] = []
    for state in reader:
        second.append(state)
        if state.buffer_size == 4:
            reader.stop()
        elif [each.buffer_size for each in second].count(3) == 2:
            # A group that is lost begins again where this reader was.
            client.xgroup_destroy(partition_key(OUTPUT_STREAM, 0), "sizing")
            publish_into(client, 0, "BTCUSDT", 4)
    assert second[0] == first[3], "the fourth was not acknowledged"
    for symbol, expected in {"BTCUSDT": [0, 1, 2, 3, 4], "ETHUSDT": [0, 1, 2, 3]}.items():
        read = [each.buffer_size for each in (*first, *second[1:]) if each.symbol == symbol]
        assert read == expected


def test_a_node_that_is_away_does_not_hold_up_the_states_of_others(client: redis.Redis) -> None:
    through: Any = OneStreamAtATime(client)
    through.away = partition_key(OUTPUT_STREAM, 0)
    for partition, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        publish_into(client, partition, symbol, 1)
    reader = reader_of(through, partitions=2, passing=PASSING)
    read = []
    for state in reader:
        read.append(state.symbol)
        through.away = ""
        if len(read) == 2:
            reader.stop()
    assert read == ["ETHUSDT", "BTCUSDT"]


def test_the_latest_state_of_a_symbol_is_in_its_partition(
    client: redis.Redis, any_client: redis.Redis
) -> None:
    record = make_record("BTCUSDT", 3)
    prefix = partition_prefix(OUTPUT_PREFIX, partition_of("BTCUSDT", 16))
    client.set(record_key(prefix, "BTCUSDT"), encode_record(record))
    assert prefix == "quantum:marketstate:{p10}:"
    assert latest_state(any_client, "BTCUSDT", partitions=16) == record
    assert latest_state(any_client, "BTCUSDT") is None
    assert latest_state(any_client, "BTCUSDT", partitions=4) is None
