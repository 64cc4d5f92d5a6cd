"""Windows that are gone from Redis, by a TTL, by eviction or by hand, are noticed and refilled."""

import json
import logging
from typing import Any

import pytest
import redis

from marketstate.worker.commands.verify.command import verify
from marketstate.worker.engine import window_codec
from marketstate.worker.engine.group import group_gone
from marketstate.worker.engine.heartbeat import Heartbeat
from marketstate.worker.engine.loop import run
from marketstate.worker.engine.preflight import preflight
from marketstate.worker.engine.status import Unread, read_status
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.engine.utc import utc
from marketstate.worker.errors import GroupDeleted
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from marketstate.worker.stop import Stop
from tests.support.candles import MINUTE_MS, candle
from tests.support.feeding import NEEDED
from tests.support.small_workers import FILLED, SYMBOLS, candles_of, small_worker, work_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INPUT, INTERNAL_PREFIX, counters, feed, published

pytestmark = pytest.mark.one_redis_version

WINDOW = f"{INTERNAL_PREFIX}:window:BTCUSDT"
MARKS = f"{INTERNAL_PREFIX}:shard:{shard_of('BTCUSDT', 16):02d}"
CACHE = "candles:BTCUSDT:1m"


def worked(server: EmbeddedRedis, client: redis.Redis) -> None:
    """Both symbols have published states, and the worker is gone."""
    worker = small_worker(server)
    feed(client, candles_of(SYMBOLS, 0, FILLED - 1))
    work_off(worker)
    worker.shards.release()


def window_of(client: redis.Redis) -> tuple[list[int], list[float]]:
    packed: Any = client.lrange(WINDOW, 0, -1)
    times_ms, closes = window_codec.unpack(b"".join(packed))
    return times_ms.tolist(), closes.tolist()


def fill_cache(client: redis.Redis, first: int, last: int) -> None:
    for one in candles_of(("BTCUSDT",), first, last):
        client.zadd(
            CACHE, {json.dumps({"close": one.close, "t": one.open_time}): one.open_time or 0}
        )


def expected_window(first: int, last: int) -> tuple[list[int], list[float]]:
    candles = candles_of(("BTCUSDT",), first, last)
    return [one.close_time for one in candles], [one.close for one in candles]


def states(client: redis.Redis) -> int:
    return len(published(client)["BTCUSDT"])


def another(server: EmbeddedRedis, client: redis.Redis, first: int, last: int) -> SteppedWorker:
    worker = small_worker(server, f"from-{first}")
    feed(client, candles_of(SYMBOLS, first, last))
    work_off(worker)
    return worker


@pytest.mark.parametrize("left", [0, 1, 3, NEEDED - 1])
def test_a_window_that_was_lost_is_filled_from_a_cache_and_its_next_state_is_the_same(
    left: int, server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G6: what is left of it follows the closes of the cache."""
    worked(server, client)
    another(server, client, FILLED, FILLED).shards.release()
    expected = published(client)["BTCUSDT"][-1], window_of(client)
    client.flushall()

    worked(server, client)
    if left:
        client.ltrim(WINDOW, -left, -1)
    else:
        client.delete(WINDOW)
    fill_cache(client, 0, FILLED - 1)
    with caplog.at_level(logging.WARNING):
        another(server, client, FILLED, FILLED)
    assert (published(client)["BTCUSDT"][-1], window_of(client)) == expected
    assert counters(client)["window_lost"] == 1
    assert "the windows of 1 symbols are gone or too short" in caplog.text


@pytest.mark.parametrize(("left", "fills"), [(0, False), (3, False), (5, True)])
def test_a_list_without_times_fills_a_lost_window_if_what_is_left_confirms_it(
    left: int, fills: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Its loss is counted once, though each candle may confirm the list."""
    worked(server, client)
    if left:
        client.ltrim(WINDOW, -left, -1)
    else:
        client.delete(WINDOW)
    closes = [each.close for each in candles_of(("BTCUSDT",), 0, FILLED - 1)]
    client.lpush(CACHE, *map(str, closes))
    worker = small_worker(server, "two")
    for number in range(FILLED, FILLED + 3):
        feed(client, candles_of(("BTCUSDT",), number, number))
        work_off(worker)
    first = 1 if fills else FILLED - left
    assert window_of(client) == expected_window(first, FILLED + 2)
    assert counters(client)["window_lost"] == 1


@pytest.mark.parametrize("left", [0, 3])
def test_a_window_that_was_lost_and_has_no_cache_gathers_closes_again_and_is_counted_once(
    left: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worked(server, client)
    before = states(client)
    if left:
        client.ltrim(WINDOW, -left, -1)
    else:
        client.delete(WINDOW)
    first = FILLED
    # Each worker loads the growing window again.
    for number in range(NEEDED - left):
        assert states(client) == before
        another(server, client, first + number, first + number).shards.release()
    assert window_of(client) == expected_window(first - left, first + NEEDED - left - 1)
    assert states(client) == before + 1
    if not left:
        assert counters(client)["window_lost"] == 1


def test_candles_from_before_the_last_state_stay_out_of_a_window_that_was_lost(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3: nothing is applied or published twice."""
    worked(server, client)
    before = states(client)
    client.delete(WINDOW)
    worker = small_worker(server, "two")
    feed(client, candles_of(("BTCUSDT",), 0, FILLED - 1))
    work_off(worker)
    found = counters(client)
    assert (found["late"], found["duplicate"]) == (FILLED - 1, 1)
    assert (states(client), client.exists(WINDOW)) == (before, 0)
    assert "window_lost" not in found


def test_old_candles_and_a_new_one_in_one_batch_fill_a_lost_window_up_to_the_new_one(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G6"""
    worked(server, client)
    client.delete(WINDOW)
    fill_cache(client, 0, FILLED - 1)
    worker = small_worker(server, "two")
    worker.batch_size.most = 100
    feed(client, candles_of(("BTCUSDT",), 0, FILLED))
    work_off(worker)
    assert window_of(client) == expected_window(0, FILLED)


def test_marks_that_were_lost_cost_no_window(server: EmbeddedRedis, client: redis.Redis) -> None:
    """G6: the next candle finds the closes that are there."""
    worked(server, client)
    before = states(client)
    client.delete(MARKS)
    another(server, client, FILLED, FILLED)
    assert window_of(client) == expected_window(0, FILLED)
    assert states(client) == before + 1


def test_a_window_that_grows_for_the_first_time_is_not_lost(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    worker = small_worker(server)
    feed(client, candles_of(SYMBOLS, 0, 3))
    work_off(worker)
    worker.shards.release()
    fill_cache(client, -20, -1)
    another(server, client, 4, 4)
    assert ("window_lost" in counters(client), "gone or too short" in caplog.text) == (False, False)
    assert window_of(client) == expected_window(0, 4)


@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_short_window_that_starts_over_begins_with_what_the_cache_has_behind_the_gap(
    is_loaded: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2: whether the worker has loaded what was there before the gap, or filled it itself."""
    worker = small_worker(server)
    feed(client, candles_of(SYMBOLS, 0, 3))
    work_off(worker)
    if is_loaded:
        worker.shards.release()
        worker = small_worker(server, "two")
    fill_cache(client, 0, 39)
    feed(client, candles_of(SYMBOLS, 40, 40))
    work_off(worker)
    assert window_of(client) == expected_window(29, 40)


@pytest.mark.parametrize(
    "key", [INPUT, WINDOW, MARKS, f"{INTERNAL_PREFIX}:meta", f"{INTERNAL_PREFIX}:counters"]
)
def test_check_and_verify_warn_of_a_ttl(
    key: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worked(server, client)
    settings = SteppedWorker(server, "looks").settings
    for findings in (preflight(settings), verify(settings)):
        assert [each for each in findings if each.subject == "expiry"] == []
    client.expire(key, 1_000)
    for findings in (preflight(settings), verify(settings)):
        (found,) = [each for each in findings if each.subject == "expiry"]
        assert found.verdict == "warn"
        assert found.text.startswith(f"{key} expires in")


def test_a_ttl_on_everything_is_not_a_line_for_each_key(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server)
    feed(client, candles_of(tuple(f"S{i}USDT" for i in range(150)), 0, 0))
    work_off(worker)
    for key in client.scan_iter(f"{INTERNAL_PREFIX}:*"):
        client.expire(key, 1_000)
    found = [each for each in preflight(worker.settings) if each.subject == "expiry"]
    assert len(found) == 21
    assert "more keys" in found[-1].text


@pytest.mark.parametrize(
    ("lose", "says"),
    [
        (lambda client: client.delete(INPUT), "the input stream .* no longer exists"),
        (lambda client: client.xgroup_destroy(INPUT, "marketstate"), "has been deleted"),
    ],
    ids=["the stream", "the group"],
)
def test_a_stream_that_is_gone_is_told_apart_from_a_group_that_was_deleted(
    lose: Any, says: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server)
    feed(client, candles_of(SYMBOLS, 0, 0))
    work_off(worker)
    lose(client)
    with pytest.raises(GroupDeleted, match=says):
        raise group_gone(client, worker.keys)
    with pytest.raises(GroupDeleted, match=says):
        read_status(client, worker.settings)
    with pytest.raises(GroupDeleted, match=says):
        SteppedWorker(server, "two")


@pytest.mark.one_redis_version
def test_a_stream_that_goes_before_a_heartbeat_is_named_too(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that rests asks for the lag only, and hears of no group."""
    lag = Heartbeat._lag

    def lag_without_stream(heartbeat: Heartbeat) -> Unread:
        client.delete(INPUT)
        return lag(heartbeat)

    monkeypatch.setattr(Heartbeat, "_lag", lag_without_stream)
    settings = settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})
    with pytest.raises(GroupDeleted, match=r"the input stream .* no longer exists"):
        run(settings, Stop(), SystemdNotifier("@nobody listens"))


def test_the_state_after_a_loss_has_a_gap_of_its_true_length(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G5: missing candles are counted from the last state."""
    worked(server, client)
    client.delete(WINDOW)
    worker = small_worker(server, "two")
    feed(client, [candle("BTCUSDT", FILLED + 3, 100.0)])
    work_off(worker)
    last_ms = candle("BTCUSDT", FILLED - 1, 1.0).close_time
    between = f"between {utc(last_ms)} and {utc(last_ms + 4 * MINUTE_MS)} UTC"
    expected = f"BTCUSDT: candles missing {between}: 3"
    assert expected in caplog.text
