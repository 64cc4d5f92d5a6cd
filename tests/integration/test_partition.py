"""One partition: a group like any other, all of whose keys have one tag."""

import time
from collections import Counter
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.partitions import partition_of, stream_of
from marketstate.worker.engine.preflight import VERSION, preflight
from marketstate.worker.engine.status import read_status, unfinished
from marketstate.worker.errors import PartitionCountMismatch
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.stop import Stop
from tests.support.candles import made_candles
from tests.support.monitoring import monitored
from tests.support.small_workers import FILLED, small_worker, work_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import feed

PARTITIONS = 4
SYMBOLS = tuple(f"S{i}USDT" for i in range(12))
IN_2 = [symbol for symbol in SYMBOLS if partition_of(symbol, PARTITIONS) == 2]
TAG = "{p02}"
OF_2: dict[str, Any] = {"partitions": PARTITIONS, "partition": 2}


def feed_all(client: redis.Redis, candles: list[Candle]) -> None:
    """As a publisher does."""
    for candle in candles:
        feed(client, [candle], stream_of(candle.symbol, PARTITIONS))


def test_a_worker_of_a_partition_touches_no_key_without_its_tag_and_none_that_must_stay_absent(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """No script spans two nodes; and none begins while a node hands over the keys of the slot."""
    feed_all(client, made_candles(SYMBOLS, FILLED))
    with monitored(server) as commands:
        worker = small_worker(server, start="replay", backfill_keys="none", batch=4, **OF_2)
        work_off(worker)
        stream, group = worker.keys.input, worker.keys.group
        client.xadd(stream, {"symbol": IN_2[0], "payload": "broken"})
        client.xgroup_delconsumer(stream, group, "shard-00")
        work_off(worker)
        read_status(worker.intake._client, worker.settings)
        unfinished(worker.intake._client, worker.keys, 10)
        worker.shards.release()
    calls = [command.words for command in commands if command.name == "EVALSHA"]
    names = [words[3 : 3 + int(words[2])] for words in calls]
    assert len({words[1] for words in calls}) >= 8, "most of the scripts"
    # A script of one key cannot run on half of its keys.
    assert {keys[-1] for keys in names if len(keys) > 1} == {worker.keys.absent}
    every = {word for command in commands for word in command.words if "quantum:" in word}
    keys = {word for word in every if word.startswith("quantum:") and " " not in word}
    assert {key for key in keys if key.count(TAG) != 1 and not is_a_prefix(key, worker)} == set()
    assert len(keys) > 30
    assert client.exists(worker.keys.absent or "") == 0
    states = client.keys("quantum:marketstate:*")
    assert set(states) == {worker.keys.state(symbol).encode() for symbol in IN_2}


def is_a_prefix(text: str, worker: SteppedWorker) -> bool:
    """`load.lua` gets these as arguments."""
    return text in {worker.keys.window(""), worker.keys.state(""), worker.keys.record("")}


def test_a_candle_of_another_partition_is_a_dead_letter_that_names_its_stream(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: applied here, it would miss its window in its own partition."""
    other = next(symbol for symbol in SYMBOLS if symbol not in IN_2)
    worker = small_worker(server, **OF_2)
    feed(client, made_candles((other,), 1), worker.keys.input)
    work_off(worker)
    letters: Any = client.xrange(worker.keys.dead_stream)
    [error] = [letter[b"error"].decode() for _, letter in letters]
    wanted = partition_of(other, PARTITIONS)
    assert error == (
        f"symbol {other!r} belongs to partition {wanted} of 4: write its candles to "
        f"quantum:stream:market.klines:{{p{wanted:02d}}}"
    )
    assert read_status(client, worker.settings).counters == {"dead": 1}


@pytest.mark.parametrize("partitions", [2, 16])
def test_another_number_of_partitions_is_refused_and_changes_nothing(
    partitions: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Its symbols would be looked for in other streams."""
    worker = small_worker(server, **(OF_2 | {"partition": 1}))
    before = client.hgetall(worker.keys.meta)
    with pytest.raises(PartitionCountMismatch) as refused:
        small_worker(server, "two", partitions=partitions, partition=1)
    assert str(refused.value) == (
        f"MARKETSTATE_PARTITIONS is {partitions}, but the group 'marketstate' was created with 4; "
        "set it to 4, or move what the group keeps with `marketstate repartition`"
    )
    assert client.hgetall(worker.keys.meta) == before


def test_shares_differ_by_at_most_one_over_all_partitions(server: EmbeddedRedis) -> None:
    """With few shards in each, the first worker by its name would get all that is left over."""
    held: Counter[str] = Counter()
    for partition in range(PARTITIONS):
        given: dict[str, Any] = {"partitions": PARTITIONS, "partition": partition, "shards": 5}
        workers = [SteppedWorker(server, name, **given) for name in ("a", "b", "c")]
        for _ in range(2):
            in_partition = {one.settings.worker_id: len(one.keep()) for one in workers}
        assert sorted(in_partition.values()) == [1, 2, 2]
        held.update(in_partition)
    assert sorted(held.values()) == [6, 7, 7]


def test_a_group_has_its_share_of_the_symbols_that_all_may_have(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    assert len(IN_2) > 1
    worker = small_worker(server, max_symbols=PARTITIONS, **OF_2)
    feed_all(client, made_candles(tuple(IN_2[:2]), 1))
    work_off(worker)
    letters: Any = client.xrange(worker.keys.dead_stream)
    [error] = [letter[b"error"].decode() for _, letter in letters]
    assert error.endswith("as many as MARKETSTATE_MAX_SYMBOLS allows in each of 4 partitions")


def looks(server: EmbeddedRedis, worker: SteppedWorker) -> bool:
    """Whether the worker asks Redis when it fetches."""
    with monitored(server) as commands:
        assert worker.fetch() == []
    return bool(commands)


def test_an_idle_loop_rests_until_something_comes_or_its_shards_change(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: the shards of another are served at once. Each look is a dozen commands for Redis."""
    worker = small_worker(server, **OF_2)
    assert looks(server, worker)
    worker.intake.wait(0.001, Stop())
    assert not looks(server, worker)
    worker.keep()
    worker.shards.drop([3])
    assert looks(server, worker)
    worker.intake.wait(0.001, Stop())
    feed(client, made_candles((IN_2[0],), 1), worker.keys.input)
    worker.intake.wait(60, Stop())
    assert len(worker.fetch()) == 1


def test_a_rest_ends_with_the_lease_time(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G5: so long may it take until entries are noticed that were taken from the group by hand."""
    worker = small_worker(server, lease_seconds=10, **OF_2)
    worker.fetch()
    worker.intake.wait(0.001, Stop())
    now_s = time.monotonic()
    for later_s, expected in ((9, False), (11, True)):
        monkeypatch.setattr(
            "marketstate.worker.engine.intake.time.monotonic",
            lambda later_s=later_s: now_s + later_s,
        )
        assert looks(server, worker) == expected


def test_without_partitions_a_worker_always_looks(server: EmbeddedRedis) -> None:
    worker = small_worker(server)
    worker.fetch()
    worker.intake.wait(0.001, Stop())
    assert looks(server, worker)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({}, OF_2 | {"partition": 0}, "group is there without partitions, too: no worker with"),
        (OF_2 | {"partition": 0}, {}, "group is there with 4 partitions, too: a worker without"),
        ({}, OF_2, ""),
        ({}, {}, ""),
    ],
)
def test_check_warns_of_a_group_whose_candles_nobody_reads_any_more(
    before: dict[str, Any], after: dict[str, Any], says: str, server: EmbeddedRedis
) -> None:
    """G5: the publisher may still write to it, and lag grows where nobody looks."""
    small_worker(server, **before).shards.release()
    settings = SteppedWorker(server, "two", **after).settings
    found = [each for each in preflight(settings) if each.subject != VERSION]
    warnings = [each.text for each in found if each.verdict == "warn"]
    assert len(warnings) == bool(says)
    assert says in "".join(warnings)
