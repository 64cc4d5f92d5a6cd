"""Workers that write synthetic candles to one stream write each of them once."""

from typing import Any

import pytest
import redis

from marketstate.worker.engine.synthetic import CANDLES_AT_START, SYMBOLS, SyntheticFeeder
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.steps import SteppedWorker

MINUTE_MS = 60_000
START_MS = 1_790_000_040_000
ALL = CANDLES_AT_START * len(SYMBOLS)


def feeder(worker: SteppedWorker, client: redis.Redis, now_ms: float) -> SyntheticFeeder:
    """Of another worker with the same settings, whose clock shows `now_ms`."""
    return SyntheticFeeder(worker.settings, client, lambda: now_ms)


@pytest.fixture
def worker(server: EmbeddedRedis) -> SteppedWorker:
    return SteppedWorker(server, "a", source="synthetic")


def test_no_worker_feeds_a_candle_that_another_has_fed(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    others = [feeder(worker, client, START_MS + i) for i in range(3)]
    for each in others:
        each.feed()
    assert client.xlen(worker.keys.input) == ALL
    later = [feeder(worker, client, START_MS + MINUTE_MS) for _ in range(2)]
    for each in later:
        each.feed()
    assert client.xlen(worker.keys.input) == ALL + len(SYMBOLS)

    worker.keep()
    worker.finish_all()
    counters: Any = client.hgetall(worker.keys.counters)
    assert {name: count for name, count in counters.items() if count != b"0"} == {
        b"applied": b"%d" % (ALL + len(SYMBOLS)),
        b"emitted": counters[b"emitted"],
    }


def test_each_partition_gets_its_own_symbols(server: EmbeddedRedis, client: redis.Redis) -> None:
    """Two of four have none of them, and one has several."""
    fed = 0
    for partition in range(4):
        given: dict[str, Any] = {"partitions": 4, "partition": partition, "shards": 2}
        worker = SteppedWorker(server, "a", source="synthetic", **given)
        feeder(worker, client, START_MS).feed()
        feeder(worker, client, START_MS + MINUTE_MS).feed()
        worker.keep()
        fed += worker.finish_all()
        assert client.exists(worker.keys.dead_stream) == 0
    assert fed == ALL + len(SYMBOLS)


def test_what_a_worker_left_incomplete_is_completed_by_the_next(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    feeder(worker, client, START_MS).feed()
    whole: Any = client.xrange(worker.keys.input)
    client.delete(worker.keys.input)
    for entry_id, fields in whole[: -len(SYMBOLS) + 2]:
        client.xadd(worker.keys.input, fields, id=entry_id)
    feeder(worker, client, START_MS).feed()
    assert client.xrange(worker.keys.input) == whole


def test_a_refusal_for_another_reason_is_not_hidden(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    late = feeder(worker, client, START_MS)
    client.delete(worker.keys.input)
    client.set(worker.keys.input, "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        late.feed()
