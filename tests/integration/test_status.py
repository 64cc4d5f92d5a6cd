"""`marketstate status`: what operators and health checks see."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.engine.group import group_gone
from marketstate.worker.engine.status import read_status
from marketstate.worker.errors import GroupDeleted
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.steps import SteppedWorker
from tests.support.terminal import Terminal
from tests.support.worker_process import INPUT, WorkerProcess, feed, wait_until


def status_command(
    server: EmbeddedRedis, folder: Path, *options: str, **settings: object
) -> tuple[int, str]:
    with WorkerProcess(server.port, folder, "status", *options, **settings) as process:
        return process.exit_code(), process.log


def as_json(output: str) -> Any:
    return json.loads(output.splitlines()[0])


def test_status_shows_backlog_holders_workers_counters_and_freshness(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G8: lag and pending add up to the unfinished entries."""
    first = SteppedWorker(server, "first", batch=50, max_pending=100)
    second = SteppedWorker(server, "second", batch=50, max_pending=100)
    for worker in (first, second, first, second):
        worker.keep()
    candles = made_candles(("BTCUSDT", "ETHUSDT"), 260)
    feed(client, candles)
    first.fetch()
    before = read_status(client, first.settings)
    assert (before.backlog, before.pending, before.lag) == (520, 50, 470)
    assert 0 < before.oldest_unfinished_s < 60
    while first.finish_all() + second.finish_all():
        pass
    after = read_status(client, first.settings)
    assert (after.backlog, after.oldest_unfinished_s) == (0, 0)
    assert {worker.worker_id: worker.shards for worker in after.workers} == {
        "first": list(range(8)),
        "second": list(range(8, 16)),
    }
    assert all(0 < (shard.lease_left_s or 0) <= 10 for shard in after.shards)
    assert after.counters == {"applied": 520, "emitted": 8}
    assert {one.symbol: one.last_emitted_ms for one in after.symbols} == {
        "BTCUSDT": candles[-1].close_time,
        "ETHUSDT": candles[-1].close_time,
    }
    assert after.shards[shard_of("BTCUSDT", 16)].symbols == 1


def test_status_is_a_table_or_json_and_an_exit_code_for_health_checks(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worker = SteppedWorker(server, "one", lease_seconds=120)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 3))
    code, table = status_command(server, tmp_path)
    assert (code, "3" in table) == (0, True)
    assert {"shards", "worker", "counters", "symbol"} <= set(table.split())
    assert "shard  holder" not in table
    code, table = status_command(server, tmp_path, "--shards")
    assert (code, "\n0      one " in table) == (0, True), table
    code, output = status_command(server, tmp_path, "--json", "--max-lag", "3")
    assert (code, as_json(output)["lag"] + as_json(output)["pending"]) == (0, 3)
    assert "intervals" not in as_json(output)
    code, output = status_command(server, tmp_path, "--json", "--max-lag", "2")
    assert (code, "3 entries are unfinished; allowed: 2" in output) == (4, True)
    code, output = status_command(server, tmp_path, "--max-age", "0")
    assert (code, "the oldest unfinished entry is" in output) == (4, True)
    worker.finish_all()
    code, output = status_command(server, tmp_path, "--max-age", "0", "--max-lag", "0")
    assert (code, "none yet" in output) == (0, True)


def test_a_symbol_without_a_state_says_how_many_closes_it_has(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    feed(client, made_candles(("FULLUSDT",), 257))
    worker = SteppedWorker(server, "one", lease_seconds=120, start="warm")
    worker.keep()
    feed(client, made_candles(("FEWUSDT", "ODDUSDT"), 38) + made_candles(("DONEUSDT",), 258))
    while worker.finish_all():
        pass
    client.set(worker.settings.keys.window("ODDUSDT"), "not a list")
    code, table = status_command(server, tmp_path)
    rows = [" ".join(line.split()) for line in table.splitlines() if "USDT" in line]
    assert (code, rows[:3]) == (
        0,
        [
            "FEWUSDT none yet, 38 of 257 closes -",
            "FULLUSDT none yet, comes with the next close -",
            "ODDUSDT none yet -",
        ],
    )
    _, output = status_command(server, tmp_path, "--json")
    closes = {one["symbol"]: one["closes"] for one in as_json(output)["symbols"]}
    assert closes == {"FEWUSDT": 38, "FULLUSDT": 257, "ODDUSDT": None, "DONEUSDT": None}
    assert as_json(output)["closes_needed"] == 257


def test_a_watched_status_that_cannot_be_drawn_again_has_an_empty_line_between(
    server: EmbeddedRedis,
) -> None:
    SteppedWorker(server, "one").keep()
    with Terminal(
        "status", "--watch", environ={"TERM": "dumb"}, redis_port=server.port
    ) as terminal:
        begins = "group marketstate on "
        wait_until(lambda: terminal.written.count(begins) > 1, "it is shown again")
        assert f"\r\n\r\n{begins}" in terminal.written
        assert "\x1b" not in terminal.written


def test_a_watched_status_waits_for_a_redis_that_goes_away(any_server_binary: Path) -> None:
    """It ended with the Redis, whose return one wants to see."""
    kept = ("--appendonly", "yes", "--appendfsync", "always")
    with EmbeddedRedis(any_server_binary, *kept) as server:
        SteppedWorker(server, "one").keep()
        with Terminal("status", "--watch", environ={}, redis_port=server.port) as terminal:
            wait_until(lambda: "group marketstate" in terminal.written, "it is shown")
            server.kill()
            wait_until(lambda: "retrying: Redis at" in terminal.written, "it says so")
            server.start()
            wait_until(
                lambda: "group marketstate" in terminal.written.partition("retrying")[2],
                "it is shown again",
            )
            terminal.press("\x03")
            assert terminal.exit_code() == 0


def test_a_status_is_not_watched_where_no_redis_answers() -> None:
    with Terminal("status", "--watch", environ={}, redis_port=1) as terminal:
        assert terminal.exit_code() == 3


@pytest.mark.parametrize("command", ["status", "check"])
def test_status_and_check_look_into_the_namespace_of_a_replay(
    command: str, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """With the same option as all other commands that look into one."""
    with WorkerProcess(server.port, tmp_path, replay_namespace="yesterday") as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        with WorkerProcess(server.port, tmp_path, command, "--namespace", "yesterday") as process:
            assert process.exit_code() == 0, process.log
    assert "quantum:replay:yesterday:stream:market.klines" in process.log
    assert client.exists(INPUT) == 0


def test_status_without_a_group_is_one_clear_line(server: EmbeddedRedis, tmp_path: Path) -> None:
    with server.client() as client:
        client.flushall()
    code, output = status_command(server, tmp_path)
    assert (code, len(output.splitlines())) == (3, 1)
    assert f"{INPUT} has no group 'marketstate'; start a worker, which creates it" in output


def test_status_and_verify_can_be_asked_while_redis_is_full(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G8: then the backlog is what everybody wants to see."""
    worker = SteppedWorker(server, "one", lease_seconds=120)
    worker.keep()
    feed(client, made_candles(("BTCUSDT",), 258))
    worker.finish_all()
    feed(client, made_candles(("ETHUSDT",), 3))
    client.config_set("maxmemory", "1")
    try:
        code, output = status_command(server, tmp_path, "--json")
        with WorkerProcess(server.port, tmp_path, "verify") as verify:
            verify.exit_code()
    finally:
        client.config_set("maxmemory", "0")
    assert (code, as_json(output)["lag"], as_json(output)["counters"]["applied"]) == (0, 3, 258)
    assert "ok   recomputed: 1 of 1 states are byte for byte" in verify.log


def test_for_a_deleted_group_status_says_the_same_as_the_worker(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = SteppedWorker(server, "one")
    client.xgroup_destroy(worker.keys.input, worker.keys.group)
    with pytest.raises(GroupDeleted, match="has been deleted"):
        read_status(client, worker.settings)


def test_a_damaged_key_of_the_group_is_one_clear_line(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worker = SteppedWorker(server, "one")
    for found in ("many", "0", "9" * 9):
        client.hset(worker.keys.meta, "shards", found)
        code, output = status_command(server, tmp_path)
        assert (code, len(output.splitlines())) == (3, 1)
        assert f"the field shards of {worker.keys.meta} is '{found}'; set it with HSET" in output


def test_a_group_that_is_gone_with_its_meta_key_is_not_said_to_have_it(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Redis was emptied, and the upstream has created the stream again."""
    worker = SteppedWorker(server, "one")
    client.flushall()
    feed(client, made_candles(("BTCUSDT",), 1))
    assert "meta is gone" in str(group_gone(client, worker.keys))
