"""Readers downstream, plain and of asyncio, while Redis is killed, paused and cut off: no state is
left out.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.market_state import encode_record, stream_fields
from marketstate.schemas.partitions import partition_key
from marketstate.schemas.reader import OUTPUT_STREAM
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.cluster_nodes import is_well, serves
from tests.support.readers import KINDS, RunningReader
from tests.support.records import make_record
from tests.support.redis_cluster import LocalCluster
from tests.support.redis_versions import skip_if_a_cluster_loses_its_log
from tests.support.worker_process import wait_until

TIME_OUT_S = 0.3
BLOCK_MS = 60_000
PARTITIONS = 6
OF_SLOT_0, OF_ANOTHER_NODE = 2, 0
"""Partitions of two nodes in a cluster of three; the node of the first has slot 0, too."""


def options(**more: Any) -> dict[str, Any]:
    return {"group": "sizing", "consumer": "one", "start": "0", "block_ms": BLOCK_MS, **more}


def at(server: EmbeddedRedis, **more: Any) -> Callable[[Any], Any]:
    """A default client, but for a shorter time-out."""
    return lambda module: module.Redis(
        host="127.0.0.1", port=server.port, socket_timeout=TIME_OUT_S, **more
    )


def add(client: Any, number: int, symbol: str = "BTCUSDT", partition: int | None = None) -> None:
    """Once, however often it is called."""
    record = make_record(symbol, number)
    fields: Any = msgspec.structs.asdict(stream_fields(record, encode_record(record)))
    stream, entry_id = partition_key(OUTPUT_STREAM, partition), f"{number + 1}-0"
    try:
        client.xadd(stream, fields, id=entry_id)
    except redis.ResponseError as error:
        if "equal or smaller" not in str(error):
            raise


@pytest.fixture
def durable_server(any_server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(
        any_server_binary, "--appendonly", "yes", "--appendfsync", "always"
    ) as server:
        yield server


def kill_and_restart(server: EmbeddedRedis) -> None:
    server.kill()
    time.sleep(0.05)
    server.start()


def pause_beyond_the_time_out(server: EmbeddedRedis) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(3 * TIME_OUT_S)
    os.kill(server.pid, signal.SIGCONT)


def cut_connections(server: EmbeddedRedis) -> None:
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)


def lose_the_group(server: EmbeddedRedis) -> None:
    with server.client() as client:
        for kind in KINDS:
            client.xgroup_destroy(OUTPUT_STREAM, kind)


FAULTS = (kill_and_restart, cut_connections, pause_beyond_the_time_out, lose_the_group)


def test_readers_leave_nothing_out_whatever_happens_to_redis(
    durable_server: EmbeddedRedis,
) -> None:
    """In order, and a state comes twice only if its acknowledgement was lost."""
    server, stopping, total = durable_server, threading.Event(), 0

    def publish() -> None:
        nonlocal total
        with at(server)(redis) as client:
            while not stopping.is_set():
                try:
                    add(client, total)
                except (redis.ConnectionError, redis.TimeoutError):
                    continue
                total += 1
                stopping.wait(0.001)

    publisher = threading.Thread(target=publish)
    readers = [RunningReader(kind, at(server), **options(group=kind, count=7)) for kind in KINDS]
    with readers[0], readers[1]:
        publisher.start()
        for fault in FAULTS * 2:
            before = [len(each.found) for each in readers]
            fault(server)
            for each, had in zip(readers, before, strict=True):
                each.wait_until_found(had + 20)
        stopping.set()
        publisher.join()
        for each in readers:
            each.wait_for("BTCUSDT", total - 1)
    for each in readers:
        assert [number for number, _ in groupby(each.numbers_of("BTCUSDT"))] == list(range(total))
        assert len(each.found) <= total + len(FAULTS) * 2


@pytest.mark.one_redis_version
@pytest.mark.parametrize("kind", KINDS)
def test_a_quiet_stream_ends_no_reader_whose_client_times_out_sooner_than_it_would_wait(
    kind: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    def calls() -> int:
        stats: Any = client.info("commandstats")
        return int(stats.get("cmdstat_xreadgroup", {}).get("calls", 0))

    with RunningReader(kind, at(server), **options()) as running:
        wait_until(lambda: client.exists(OUTPUT_STREAM), "the group exists")
        before = calls()
        wait_until(lambda: calls() > before + 8, "some reads came back with nothing")
        add(client, 0)
        running.wait_for("BTCUSDT", 0)


@pytest.mark.one_redis_version
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_that_is_lost_before_anything_was_read_begins_where_it_began(
    kind: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    add(client, 0)
    with RunningReader(kind, at(server), **options(start="$")) as running:
        wait_until(lambda: client.xinfo_groups(OUTPUT_STREAM), "the group exists")
        with client.pipeline(transaction=True) as at_once:
            at_once.xgroup_destroy(OUTPUT_STREAM, "sizing")
            add(at_once, 1)
            at_once.execute()
        running.wait_for("BTCUSDT", 1)
    assert running.numbers_of("BTCUSDT") == [1]


@pytest.mark.one_redis_version
# A cluster client of redis-py 7 that asks for the nodes once more forgets to close the old ones.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_dies_before_an_acknowledgement_holds_up_no_other_partition(
    kind: str, any_server_binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it can, it has slot 0: there, a cluster client asks where the keys of a command are."""
    skip_if_a_cluster_loses_its_log(any_server_binary)
    # See schemas/README.md, Reading downstream.
    waits_for_slot_0 = kind == "asyncio" and redis.__version__.startswith("6.")
    lost = OF_ANOTHER_NODE if waits_for_slot_0 else OF_SLOT_0
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with LocalCluster(any_server_binary, *durable) as cluster:
        streams = [partition_key(OUTPUT_STREAM, each) for each in range(PARTITIONS)]
        dying = cluster.owner(streams[lost])
        assert serves(dying, 0) is not waits_for_slot_0
        of_others = [i for i, each in enumerate(streams) if cluster.owner(each) is not dying]
        other = next(node for node in cluster.nodes if node is not dying)

        def publish(number: int, partitions: list[int]) -> None:
            for each in partitions:
                with open_client(redis) as client:
                    add(client, number, f"S{each}", each)

        def kill_in_the_body(record: Any) -> None:
            if record.symbol == f"S{lost}" and dying.is_running and record.buffer_size == 0:
                dying.kill()
                publish(1, of_others)

        def open_client(module: Any) -> Any:
            return module.RedisCluster(host="127.0.0.1", port=other.port)

        publish(0, list(range(PARTITIONS)))
        publish(1, [lost])
        reading = options(partitions=PARTITIONS)
        with RunningReader(kind, open_client, kill_in_the_body, **reading) as running:
            for each in of_others:
                running.wait_for(f"S{each}", 1)
            assert 1 not in running.numbers_of(f"S{lost}")
            dying.start()
            for node in cluster.nodes:
                wait_until(partial(is_well, node), "the cluster is whole")
            publish(2, list(range(PARTITIONS)))
            for each in range(PARTITIONS):
                running.wait_for(f"S{each}", 2)
    assert running.numbers_of(f"S{lost}") == [0, 1, 2]
    assert f"{streams[lost]} is away, and is tried again: " in caplog.text
    assert f"{streams[lost]} is back" in caplog.text
