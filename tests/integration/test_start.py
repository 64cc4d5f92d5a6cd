"""How a group starts: older entries, caches, and the settings that its workers must share."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.worker.engine.preflight import preflight
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle, made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    WorkerProcess,
    counters,
    expire_leases,
    feed,
    group_info,
    published,
    wait_until,
    wait_until_finished,
)

CANDLES = made_candles(("BTCUSDT", "ETHUSDT"), 264)
OLD, NEW = CANDLES[: 2 * 260], CANDLES[2 * 260 :]


def run_over(
    server: EmbeddedRedis, client: redis.Redis, folder: Path, entries: int, **settings: object
) -> str:
    with WorkerProcess(server.port, folder, **settings) as worker:
        wait_until_finished(client, entries)
        worker.terminate()
    return worker.log


def close_times(client: redis.Redis) -> dict[str, list[int]]:
    return {
        symbol: [int(fields[b"timestamp"]) for fields in entries]
        for symbol, entries in published(client).items()
    }


def seconds(candles: list[Candle], symbol: str) -> list[int]:
    return [one.close_time // 1_000 for one in candles if one.symbol == symbol]


def test_entries_from_before_the_group_warm_the_windows_and_emit_nothing(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    feed(client, OLD)
    run_over(server, client, tmp_path, len(OLD))
    assert published(client) == {}
    feed(client, NEW)
    run_over(server, client, tmp_path, len(CANDLES))
    assert close_times(client) == {s: seconds(NEW, s) for s in ("BTCUSDT", "ETHUSDT")}
    warm = published(client)

    client.flushall()
    feed(client, CANDLES)
    run_over(server, client, tmp_path, len(CANDLES), start="replay")
    assert {
        symbol: entries[-len(NEW) // 2 :] for symbol, entries in published(client).items()
    } == warm


def test_a_worker_that_restarts_during_warm_up_emits_nothing_from_it(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2: the boundary is part of the group, not of a worker's memory."""
    feed(client, OLD)
    first = SteppedWorker(server, "first", batch=100)
    first.keep()
    first.apply(first.advance(first.fetch()))
    first.shards.release()
    feed(client, NEW)
    second = SteppedWorker(server, "second", batch=100)
    second.keep()
    second.finish_all()
    assert close_times(client) == {s: seconds(NEW, s) for s in ("BTCUSDT", "ETHUSDT")}


def test_replay_emits_for_the_entries_from_before_the_group_too(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    feed(client, CANDLES)
    run_over(server, client, tmp_path, len(CANDLES), start="replay")
    assert close_times(client) == {s: seconds(CANDLES, s)[256:] for s in ("BTCUSDT", "ETHUSDT")}


def test_new_skips_the_entries_from_before_the_group(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    feed(client, OLD)
    with WorkerProcess(server.port, tmp_path, start="new") as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, NEW)
        wait_until_finished(client, len(NEW))
    assert (counters(client), published(client)) == ({"applied": len(NEW)}, {})
    # Redis 6.2 has no lag.
    assert group_info(client).get("lag", 0) == 0


def _sorted_set_by_ms(client: redis.Redis, candles: list[Candle]) -> None:
    for one in candles:
        value = json.dumps({"close": one.close, "volume": one.open_time})
        client.zadd(f"candles:{one.symbol}:1m", {value: one.open_time or 0})


def _sorted_set_by_s(client: redis.Redis, candles: list[Candle]) -> None:
    for one in candles:
        value = json.dumps({"c": str(one.close), "n": one.close_time})
        client.zadd(f"quantum:candles:{one.symbol}", {value: (one.open_time or 0) // 1_000})


def _list_of_json(client: redis.Redis, candles: list[Candle]) -> None:
    for one in candles:
        client.rpush(
            f"klines:{one.symbol}:1m", json.dumps({"t": one.open_time, "c": str(one.close)})
        )


def _list_from_the_newest(client: redis.Redis, candles: list[Candle]) -> None:
    for one in candles:
        value = json.dumps({"time": (one.open_time or 0) // 1_000, "close": one.close})
        client.lpush(f"quantum:history:ohlcv:{one.symbol}:1m", value)


@pytest.mark.parametrize(
    "fill", [_sorted_set_by_ms, _sorted_set_by_s, _list_of_json, _list_from_the_newest]
)
@pytest.mark.parametrize("with_first", [False, True], ids=["before", "up to the first candle"])
def test_a_new_symbol_starts_with_the_closes_of_its_cache(
    fill: Any, with_first: bool, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """The states are the same as from the stream alone, whatever cache the older closes are in."""
    distinct = [
        candle(symbol, i, round(100 + (i * i % 97) / 10 + i / 1_000, 3))
        for i in range(264)
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    old, new = distinct[: 2 * 258], distinct[2 * 258 :]
    feed(client, distinct)
    run_over(server, client, tmp_path, len(distinct), start="replay")
    expected = {s: entries[2:] for s, entries in published(client).items()}

    client.flushall()
    fill(client, [*old, *new[:2]] if with_first else old)
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, new)
        wait_until_finished(client, len(new))
    assert published(client) == expected
    assert "closes from the cache" in worker.log


def test_a_cache_that_cannot_be_used_is_reported_and_skipped(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    client.set("candles:BTCUSDT:1m", "x")
    client.rpush("quantum:candles:BTCUSDT", "100", "abc")
    client.zadd("klines:BTCUSDT:1m", {"-5": 1_746_373_200})
    times_s = {"100": 1_746_373_200 + 180, "101": 1_746_373_200 + 240}
    client.zadd("quantum:history:ohlcv:BTCUSDT:1m", times_s)
    feed(client, [candle("BTCUSDT", 5, 100.0)])
    log = run_over(server, client, tmp_path, 1)
    assert "candles:BTCUSDT:1m is not used: it is a string; expected a sorted set or a list" in log
    assert "quantum:candles:BTCUSDT is not used: the value b'abc' is neither a number nor" in log
    assert "klines:BTCUSDT:1m is not used: the close -5.0 is not finite and above 0" in log
    assert "BTCUSDT: 2 closes from the cache quantum:history:ohlcv:BTCUSDT:1m" in log
    assert client.llen(f"{INTERNAL_PREFIX}:window:BTCUSDT") == 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"shards": 8},
            "MARKETSTATE_SHARDS is 8, but the group 'marketstate' was created with 16",
        ),
        ({"candle_interval": "5m"}, "was created with candle_interval '1m'"),
    ],
)
def test_what_is_fixed_when_the_group_is_created_cannot_change(
    settings: dict[str, object],
    says: str,
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
) -> None:
    feed(client, OLD[:2])
    run_over(server, client, tmp_path, 2)
    with WorkerProcess(server.port, tmp_path, **settings) as worker:
        assert (worker.exit_code(), says in worker.log) == (2, True), worker.log


@pytest.mark.parametrize("command", ["worker", "check", "status", "verify"])
@pytest.mark.parametrize("exists", [False, True], ids=["no such stream", "a stream of others"])
def test_another_input_stream_than_that_of_the_group_is_named_and_nothing_else_is_proposed(
    exists: bool, command: str, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """The live group is there, so nobody must be sent to the steps for one that is gone."""
    SteppedWorker(server, "one")
    if exists:
        client.xadd("typo", {"a": "b"})
    with WorkerProcess(server.port, tmp_path, command, input_stream="typo") as process:
        assert process.exit_code() == 2, process.log
    expected = (
        f"the group {GROUP!r} was created on {INPUT}, but this worker reads typo; "
        f"set MARKETSTATE_INPUT_STREAM to {INPUT}, or choose another MARKETSTATE_GROUP"
    )
    assert (expected in process.log, "When the group is gone" in process.log) == (True, False)


def test_settings_of_the_calculation_change_only_while_no_other_worker_runs(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: no two workers of a group calculate differently at the same time."""
    with WorkerProcess(server.port, tmp_path, worker_id="first") as first:
        first.wait_for_log("holding 16 of 16 shards")
        with WorkerProcess(server.port, tmp_path, publish_interval=120) as second:
            assert second.exit_code() == 2
            assert (
                "runs with publish_interval=60, but here with publish_interval=120;" in second.log
            )
            assert "stop 'first' and all others first" in second.log
        first.terminate()
    with WorkerProcess(server.port, tmp_path, publish_interval=120) as second:
        second.wait_for_log("holding 16 of 16 shards")
    assert b" publish_interval=120 " in client.hget(f"{INTERNAL_PREFIX}:meta", "settings")  # type: ignore[operator]


def test_a_second_worker_with_the_same_id_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    with WorkerProcess(server.port, tmp_path, worker_id="twin", lease_seconds=1) as first:
        first.wait_for_log("holding 16 of 16 shards")
        with WorkerProcess(server.port, tmp_path, worker_id="twin", lease_seconds=1) as second:
            assert second.exit_code() == 2
            assert "another worker with the id 'twin' was seen" in second.log
        assert first.terminate() == 0


def test_a_killed_worker_can_come_back_under_its_id_when_its_lease_has_expired(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    """G6."""
    with WorkerProcess(server.port, tmp_path, worker_id="phoenix", lease_seconds=1) as first:
        first.wait_for_log("holding 16 of 16 shards")
        first.kill()
    with WorkerProcess(server.port, tmp_path, worker_id="phoenix", lease_seconds=1) as second:
        second.wait_for_log("holding 16 of 16 shards")


def test_a_stopped_worker_leaves_its_shards_free_at_once(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G6: the lease time is an hour, but no worker waits for it."""
    with WorkerProcess(server.port, tmp_path, lease_seconds=3600) as first:
        first.wait_for_log("holding 16 of 16 shards")
        assert first.terminate() == 0
    assert client.keys(f"{INTERNAL_PREFIX}:lease:*") == []
    with WorkerProcess(server.port, tmp_path, lease_seconds=3600) as second:
        second.wait_for_log("holding 16 of 16 shards")


def test_a_waiting_worker_learns_at_once_of_released_shards(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G6: the lease time is an hour, so the next renewal is twenty minutes away."""
    with WorkerProcess(server.port, tmp_path, lease_seconds=3600) as first:
        first.wait_for_log("holding 16 of 16 shards")
        with WorkerProcess(server.port, tmp_path, lease_seconds=3600) as second:
            wait_until(lambda: client.hlen(f"{INTERNAL_PREFIX}:members") == 2, "both are members")
            assert first.terminate() == 0
            second.wait_for_log("holding 16 of 16 shards")


def test_a_deleted_group_stops_the_worker_and_none_starts_until_it_is_repaired(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5: no worker guesses a position in the stream."""
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        client.xgroup_destroy(INPUT, GROUP)
        feed(client, OLD[:1])
        assert worker.exit_code() == 3
        assert (
            "the consumer group 'marketstate' of quantum:stream:market.klines has been"
            in worker.log
        )
    expire_leases(client)
    with WorkerProcess(server.port, tmp_path) as again:
        assert (again.exit_code(), "When the group is gone" in again.log) == (3, True)
    client.delete(f"{INTERNAL_PREFIX}:meta")
    client.hset(f"{INTERNAL_PREFIX}:unfinished", "shard-01", 5)
    run_over(server, client, tmp_path, 1)


def test_a_deleted_meta_key_stops_the_workers_and_is_not_created_again(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        client.delete(f"{INTERNAL_PREFIX}:meta")
        feed(client, OLD[:1])
        assert worker.exit_code() == 3
        assert "meta is gone; see deploy/README.md, When the group is gone" in worker.log
    assert client.exists(f"{INTERNAL_PREFIX}:meta") == 0


def test_a_group_created_by_another_program_is_left_alone(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    client.xgroup_create(INPUT, GROUP, "0", mkstream=True)
    with WorkerProcess(server.port, tmp_path) as worker:
        assert worker.exit_code() == 3
        assert "that no marketstate worker created" in worker.log


def test_synthetic_candles_are_fed_automatically_and_feeding_twice_is_harmless(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    settings = {"source": "synthetic", "candle_interval": "1s", "publish_interval": 1}
    regimes = {}
    with (
        WorkerProcess(server.port, tmp_path, **settings),
        WorkerProcess(server.port, tmp_path, **settings),
    ):
        wait_until(
            lambda: all(len(published(client).get(s, [])) > 47 for s in ("BTCUSDT", "ETHUSDT")),
            "states flow beyond those of the first 300 candles",
        )
        for symbol, entries in published(client).items():
            times = [int(fields[b"timestamp"]) for fields in entries]
            assert times == list(range(times[0], times[0] + len(times)))
            regimes[symbol] = {fields[b"regime"].decode() for fields in entries}
    assert regimes["BTCUSDT"] == {"trend"}
    assert regimes["ETHUSDT"] == {"mr"}
    assert regimes["SOLUSDT"] == {"chop"}
    assert client.exists(INPUT) == 0


def test_without_candles_nothing_is_published(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """There is no fallback to synthetic prices."""
    with WorkerProcess(server.port, tmp_path, lease_seconds=1) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        members = client.hgetall(f"{INTERNAL_PREFIX}:members")
        wait_until(
            lambda: client.hgetall(f"{INTERNAL_PREFIX}:members") != members,
            "the worker has gone on",
        )
    outputs = client.keys("quantum:marketstate:*") + client.keys("quantum:stream:*")
    assert outputs == [INPUT.encode()]


@pytest.mark.parametrize(
    ("others", "is_warned"),
    [({}, True), ({"output_prefix": "other:", "output_stream": "others"}, False)],
)
def test_check_warns_of_another_group_that_publishes_to_the_same_keys(
    others: dict[str, str],
    is_warned: bool,
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
) -> None:
    """It would publish every state twice, and push older states out of the output stream."""
    SteppedWorker(server, "one", group="another", **others)
    with WorkerProcess(server.port, tmp_path, "check") as check:
        assert check.exit_code() == 0, check.log
    assert ("warn group another: reads the same input and publishes" in check.log) == is_warned
    assert client.exists(INPUT)


def test_check_warns_of_symbols_in_lower_case(server: EmbeddedRedis) -> None:
    settings = SteppedWorker(server, "one", symbols="btcusdt,ETHUSDT").settings
    warnings = [each for each in preflight(settings) if each.verdict == "warn"]
    (warning,) = [each.text for each in warnings if each.subject == "settings"]
    assert warning.startswith("MARKETSTATE_SYMBOLS has btcusdt in lower case")
