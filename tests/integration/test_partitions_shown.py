"""What commands show of a group with partitions: sums, and what is wrong with one of them."""

import json
from typing import Any

import msgspec
import pytest
import redis

from marketstate.worker.cli import main
from marketstate.worker.commands.limits import Limits
from marketstate.worker.commands.plot.sources import from_stream
from marketstate.worker.commands.status import Wanted, show_status
from marketstate.worker.commands.top.feed import Feed
from marketstate.worker.commands.verify.command import verify
from marketstate.worker.engine.all_partitions import AllPartitions, Answer
from marketstate.worker.engine.status import read_status
from marketstate.worker.engine.status_of_all import summed
from marketstate.worker.errors import CheckFailed, RedisUnusable
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client, open_client
from tests.support.candles import made_candles
from tests.support.partitioned import feed_by_symbol
from tests.support.small_workers import FILLED
from tests.support.stepped_partitions import (
    PARTITIONS,
    SYMBOLS,
    partition_workers,
    settings_of_all,
    work_all_off,
)
from tests.support.steps import SteppedWorker

pytestmark = pytest.mark.one_redis_version
EVERY_STATE_IS_OLD: dict[str, Any] = {"max_state_age_s": float("inf"), "max_age_s": float("inf")}


@pytest.fixture
def workers(server: EmbeddedRedis, client: redis.Redis) -> list[SteppedWorker]:
    """They have published states of all symbols."""
    workers = partition_workers(server)
    feed_by_symbol(client, made_candles(SYMBOLS, FILLED), PARTITIONS)
    work_all_off(workers)
    return workers


def shown(settings: Any, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    limits = Limits(options.pop("max_lag", float("inf")), float("inf"))
    try:
        show_status(settings, Wanted(limits, **options))
    finally:
        text = capsys.readouterr().out
    return text


def test_a_connection_that_failed_is_closed(workers: list[SteppedWorker]) -> None:
    opened = []

    def fail(client: Client, _: Settings) -> None:
        opened.append(client)
        raise redis.ConnectionError

    every = AllPartitions(settings_of_all(workers[0]))
    with pytest.raises(RedisUnusable):
        every.ask(fail)
    assert [client.connection for client in opened] == [None] * PARTITIONS


def test_a_sum_is_as_old_and_as_uncertain_as_the_worst_of_its_parts(
    workers: list[SteppedWorker], client: redis.Redis
) -> None:
    """G8"""
    status = read_status(client, workers[0].settings)
    settings, change = settings_of_all(workers[0]), msgspec.structs.replace
    first = workers[0].settings
    parts = [
        change(status, lag_at_least=at_least, oldest_unfinished_s=age_s)
        for at_least, age_s in ((False, 1.0), (True, 2.0))
    ]
    found = summed(settings, [Answer(first, part, "") for part in parts])
    assert (found.lag_at_least, found.oldest_unfinished_s) == (True, 2.0)


@pytest.mark.parametrize(("asks_again", "times"), [(True, 2), (False, 1)])
def test_a_node_that_failed_is_waited_for_once_by_who_asks_once(
    workers: list[SteppedWorker], *, asks_again: bool, times: int
) -> None:
    asked = []

    def open_second(part: Settings) -> Client:
        if part.partition == 1:
            asked.append(part.tag)
            raise redis.TimeoutError("silent")
        return open_client(part, block_s=0)

    every = AllPartitions(settings_of_all(workers[0]), open_second, asks_again=asks_again)
    answers = [every.ask(lambda client, _: client.ping()) for _ in range(2)]
    every.close()
    assert asked == ["{p01}"] * times
    for [first, second] in answers:
        assert (first.found, second.found, "silent" in second.trouble) == (True, None, True)


def test_status_adds_up_the_partitions(
    workers: list[SteppedWorker], client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """G8: the sums are those of the groups, each as XINFO GROUPS has it."""
    settings = settings_of_all(workers[0])
    feed_by_symbol(client, made_candles(SYMBOLS, FILLED + 2)[-8:-1], PARTITIONS)
    workers[1].fetch()
    document = json.loads(shown(settings, capsys, as_json=True))
    assert (document["lag"], document["pending"]) == (4, 3)
    assert document["counters"]["applied"] == FILLED * len(SYMBOLS)
    assert {one["symbol"] for one in document["symbols"]} == set(SYMBOLS)
    assert [(one["lag"], one["pending"]) for one in document["partitions"]] == [(4, 0), (0, 3)]
    assert [one["held"] for one in document["partitions"]] == [16, 16]
    lines = shown(settings, capsys).splitlines()
    assert lines[0].endswith("market.klines:{p00} to {p01}")
    assert lines[1].startswith("lag 4  pending 3  ")
    assert lines[2] == "partitions  2, most unfinished in {p00}: 4"
    assert lines[4].startswith("shards  32 of 32 held")
    assert any(line.endswith("32 in 2 partitions") for line in lines)
    with pytest.raises(CheckFailed, match="7 entries are unfinished"):
        shown(settings, capsys, max_lag=6)


def test_without_partitions_the_json_has_no_word_of_them(
    server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = SteppedWorker(server, "one")
    alone.keep()
    text = shown(alone.settings, capsys, as_json=True)
    assert "partition" not in text


def test_a_partition_that_cannot_be_read_is_named_and_the_others_are_shown(
    workers: list[SteppedWorker], client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of_all(workers[0])
    client.delete(workers[1].keys.input)
    with pytest.raises(RedisUnusable, match=r"^1 of 2 partitions cannot be read, such as {p01}: "):
        shown(settings, capsys)
    with pytest.raises(RedisUnusable):
        shown(settings, capsys, as_json=True)
    found = list(verify(settings, **EVERY_STATE_IS_OLD))
    assert [each.verdict for each in found if each.subject == "{p01}"] == ["FAIL"], found
    findings = {finding.subject: finding for finding in found}
    assert findings["recomputed"].text.startswith("2 of 2 states")


def test_a_node_that_does_not_answer_costs_its_own_partitions(
    workers: list[SteppedWorker],
) -> None:
    settings = settings_of_all(workers[0])

    def opened(part: Any) -> Any:
        is_first = part.keys.input == workers[0].keys.input
        return open_client(
            part if is_first else msgspec.structs.replace(part, redis_port=1), block_s=0
        )

    every = AllPartitions(settings, opened)
    first, second = every.ask(lambda client, part: read_status(client, part).group)
    assert (first.found, first.trouble) == ("marketstate", "")
    assert second.found is None
    assert "cannot be reached" in second.trouble or "refused" in second.trouble
    every.close()


def test_verify_names_a_partition_whose_node_is_away_once(
    workers: list[SteppedWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of_all(workers[0])
    every = settings.each_partition()
    parts = [every[0], msgspec.structs.replace(every[1], redis_port=1)]
    monkeypatch.setattr(type(settings), "each_partition", lambda _settings: parts)
    found = [str(finding) for finding in verify(settings, **EVERY_STATE_IS_OLD)]
    assert sum("cannot be read" in line for line in found) == 1, found
    # A symbol of that partition, and one of the other.
    wanted = msgspec.structs.replace(settings, symbols="ETHUSDT,BTCUSDT,XRPUSDT")
    assert [wanted.of_partition(0).has(each) for each in ("ETHUSDT", "XRPUSDT")] == [False, True]
    monkeypatch.setattr(
        type(settings),
        "each_partition",
        lambda _: [msgspec.structs.replace(each, symbols=wanted.symbols) for each in parts],
    )
    said = {each.subject: each for each in verify(wanted, **EVERY_STATE_IS_OLD)}
    assert said["ETHUSDT"].verdict == "skip"
    assert said["ETHUSDT"].text == "cannot be judged: {p01} cannot be read"
    assert said["XRPUSDT"].text == "no candle has arrived yet"
    assert "BTCUSDT" not in said


def test_verify_says_that_a_partition_has_no_symbol(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """With few symbols and many partitions, that is no reason to look for an error."""
    workers = partition_workers(server)
    feed_by_symbol(client, made_candles(["BTCUSDT"], FILLED), PARTITIONS)
    work_all_off(workers)
    found = {
        each.subject: each for each in verify(settings_of_all(workers[0]), **EVERY_STATE_IS_OLD)
    }
    assert found["{p01} output stream"].text == "no candle has arrived in this partition yet"


def test_verify_is_silent_of_ignored_symbols(workers: list[SteppedWorker]) -> None:
    settings = msgspec.structs.replace(settings_of_all(workers[0]), symbols="BTCUSDT,ETHUSDT")
    found = list(verify(settings, ignored=frozenset({"ETHUSDT"}), **EVERY_STATE_IS_OLD))
    assert [each for each in found if each.subject == "ETHUSDT"] == []


def test_what_is_set_aside_in_two_partitions_under_one_name_is_told_of_both(
    workers: list[SteppedWorker], client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, worker in enumerate(workers):
        client.hset(worker.keys.quarantine, r"shard-03 b'\xff'", f"damage {number}")
    document = json.loads(shown(settings_of_all(workers[0]), capsys, as_json=True))
    assert document["quarantine"] == {
        r"{p00} shard-03 b'\xff'": "damage 0",
        r"{p01} shard-03 b'\xff'": "damage 1",
    }


def test_verify_judges_every_partition(workers: list[SteppedWorker], client: redis.Redis) -> None:
    settings = settings_of_all(workers[0])
    findings = {finding.subject: finding for finding in verify(settings, **EVERY_STATE_IS_OLD)}
    assert {finding.verdict for finding in findings.values()} <= {"ok", "skip"}, findings
    assert findings["recomputed"].text.startswith("4 of 4 states")
    client.delete(workers[1].keys.output_stream)
    client.rpop(workers[0].keys.window("SOLUSDT"))
    findings = {finding.subject: finding for finding in verify(settings, **EVERY_STATE_IS_OLD)}
    assert findings["{p01} output stream"].verdict == "FAIL"
    assert findings["{p00} output stream"].verdict == "ok"
    assert findings["SOLUSDT"].verdict == "FAIL"
    assert findings["recomputed"].text.startswith("3 of 4 states")


def test_check_says_once_what_is_the_same_in_all_partitions(
    server: EmbeddedRedis,
    client: redis.Redis,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MARKETSTATE_REDIS_PORT", str(server.port))
    monkeypatch.setenv("MARKETSTATE_PARTITIONS", "3")
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("market.klines:{p*} has no entries" in line for line in lines) == 1, lines
    # The first partition also looks for a group without partitions.
    assert all("{p0" not in line for line in lines if " rights: " not in line), lines
    client.set("quantum:marketstate-worker:marketstate:{p01}:meta", "not a hash")
    assert main(["check"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("FAIL {p01} worker: the key quantum:") for line in lines), lines
    assert any(line.startswith("ok   {p00}, {p02} keys: all of the") for line in lines), lines


def test_top_shows_the_markets_of_all_partitions(
    workers: list[SteppedWorker], client: redis.Redis
) -> None:
    feed = Feed(settings_of_all(workers[0]))
    feed.start()
    feed.stop()
    view = feed.view
    assert set(view.markets) == set(SYMBOLS)
    assert view.status is not None
    assert view.status.counters["applied"] == FILLED * len(SYMBOLS)
    client.delete(workers[1].keys.meta)
    client.xgroup_destroy(workers[1].keys.input, "marketstate")
    feed = Feed(settings_of_all(workers[0]))
    feed.start()
    feed.stop()
    assert set(feed.view.markets) == set(SYMBOLS)
    assert feed.view.status_trouble == "{p01} no group yet"


def test_plot_finds_the_partition_of_a_symbol(workers: list[SteppedWorker]) -> None:
    found = from_stream(["ETHUSDT", "SOLUSDT"], settings_of_all(workers[0]), 100)
    assert {symbol: len(series.times_ms) for symbol, series in found.items()} == {
        "ETHUSDT": 2,
        "SOLUSDT": 2,
    }
    assert set(from_stream([], settings_of_all(workers[0]), 100)) == set(SYMBOLS)
