"""Damage to the keys that a whole group needs: the quarantine costs nothing, others are named."""

from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.commands.limits import Limits
from marketstate.worker.commands.status import Wanted, show_status
from marketstate.worker.commands.top.feed import Feed
from marketstate.worker.commands.verify.command import verify
from marketstate.worker.engine.preflight import preflight
from marketstate.worker.engine.removal import symbols_of
from marketstate.worker.engine.status import read_status
from marketstate.worker.errors import RedisUnusable, WorkerError, WrongKeyType
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.replaying import run
from tests.support.small_workers import (
    FILLED,
    SYMBOLS,
    aside,
    candles_of,
    in_place_of,
    small_worker,
    work_off,
    worked,
)
from tests.support.worker_process import (
    INTERNAL_PREFIX,
    WorkerProcess,
    counters,
    expire_leases,
    feed,
    published,
)

STATE = "quantum:marketstate:BTCUSDT"
QUARANTINE = f"{INTERNAL_PREFIX}:quarantine"
META = f"{INTERNAL_PREFIX}:meta"
COMMITS = f"{INTERNAL_PREFIX}:commits"


def test_a_quarantine_that_somebody_has_overwritten_stops_no_worker_and_is_written_again(
    server: EmbeddedRedis,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """G9: it is only for people."""
    worked(server, client).shards.release()
    client.set(QUARANTINE, "x")
    worker = small_worker(server, "two")
    in_place_of(STATE, "SET", STATE, "x")(client)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    worker.keep()
    assert counters(client)["quarantined"] == 1
    assert client.get(QUARANTINE) == b"x"
    told = [record.message for record in caplog.records if QUARANTINE in record.message]
    assert len(told) == 1

    hidden = f"the key {QUARANTINE} is not a hash, so nobody can see which symbols are set aside"
    assert read_status(client, worker.settings).quarantine_hidden.startswith(hidden)
    show_status(worker.settings, Wanted(Limits(1e9, 1e9), with_shards=True))
    assert hidden in capsys.readouterr().out
    for findings in (preflight(worker.settings), verify(worker.settings)):
        assert any(str(each).startswith(f"warn quarantine: {hidden}") for each in findings)

    client.delete(QUARANTINE)
    worker.keep()
    assert list(aside(client)) == [b"BTCUSDT"]
    client.delete(STATE)
    worker.keep()
    assert aside(client) == {}
    assert read_status(client, worker.settings).quarantine_hidden == ""


WRONG = {
    "meta": ("SET", "x"),
    "members": ("SET", "x"),
    "unfinished": ("SET", "x"),
    "notices": ("SET", "x"),
    "handed-over": ("SET", "x"),
    "lease:00": ("RPUSH", "x"),
    "counters": ("SET", "x"),
    "finished-ids": ("SET", "x"),
    "commits": ("SET", "x"),
}


@pytest.mark.one_redis_version
@pytest.mark.parametrize("name", WRONG)
def test_a_worker_that_meets_a_key_of_another_type_names_it_and_ends_with_3(
    name: str, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    with WorkerProcess(server.port, tmp_path, lease_seconds=1) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        key = f"{INTERNAL_PREFIX}:{name}"
        command, value = WRONG[name]
        in_place_of(key, command, key, value)(client)
        feed(client, candles_of(SYMBOLS, 0, 0))
        assert worker.exit_code() == 3
        assert f"the key {key} holds a " in worker.log
        assert "rename or delete it" in worker.log.splitlines()[-1]


@pytest.mark.one_redis_version
@pytest.mark.parametrize("name", ["members", "counters", "commits", "lease:00", "shard:00"])
def test_status_names_a_key_of_another_type(
    name: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(server, client)
    key = f"{INTERNAL_PREFIX}:{name}"
    in_place_of(key, "XADD", key, "*", "a", "b")(client)
    with pytest.raises(WrongKeyType, match=f"the key {key} holds a stream, but the worker needs"):
        read_status(client, worker.settings)


@pytest.mark.one_redis_version
@pytest.mark.parametrize("field", ["format", "input_stream", "shards", "candle_interval"])
def test_a_field_of_meta_that_is_gone_is_named_with_its_repair(
    field: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(server, client)
    value: Any = client.hget(META, field)
    client.hdel(META, field)
    with pytest.raises(RedisUnusable, match=f"the field {field} of {META} is gone; this worker ha"):
        small_worker(server, "two")
    client.hset(META, field, value)
    assert list(small_worker(server, "two").shards) == []
    assert worker.keep()


@pytest.mark.one_redis_version
@pytest.mark.parametrize("found", ["-3", "0", "16.0", "257", "9" * 12])
def test_a_number_of_shards_that_cannot_be_is_named_with_its_repair_by_all_who_read_it(
    found: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """It would be the number of keys to look at."""
    settings = worked(server, client).settings
    client.hset(META, "shards", found)
    for read in (
        lambda: small_worker(server, "two"),
        lambda: read_status(client, settings),
        lambda: symbols_of(client, settings),
    ):
        with pytest.raises(RedisUnusable, match=f"the field shards of {META} is '{found}'; "):
            read()


@pytest.mark.one_redis_version
def test_top_does_not_say_of_a_damaged_group_that_there_is_none(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    settings = worked(server, client).settings
    client.hset(META, "shards", "x")
    feed = Feed(settings)
    feed.start()
    feed.stop()
    assert feed.view.status_trouble == "the group is damaged or deleted: see `marketstate status`"


@pytest.mark.one_redis_version
def test_a_number_of_partitions_means_nothing_in_a_group_without(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    settings = worked(server, client).settings
    client.hset(META, "partitions", "4")
    assert read_status(client, settings).symbols
    assert list(small_worker(server, "two").shards) == []


@pytest.mark.one_redis_version
def test_purge_removes_what_is_damaged_and_names_a_key_of_another_type(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worked(server, client).shards.release()
    marks = f"{INTERNAL_PREFIX}:shard:00"
    client.hset(f"{INTERNAL_PREFIX}:members", b"\xff", "x")
    client.hset(META, b"interval:\xff", "x")
    client.set(marks, "x")
    code, said = run(server, tmp_path, "purge", "--yes")
    assert (code, f"the key {marks} holds a string, but the worker needs a hash" in said) == (
        3,
        True,
    )
    client.delete(marks)
    client.hset(marks, b"\xff", "x")
    assert run(server, tmp_path, "purge", "--yes")[0] == 0
    assert client.keys(f"{INTERNAL_PREFIX}:*") == []


@pytest.mark.one_redis_version
def test_a_stream_in_meta_that_is_empty_is_gone(server: EmbeddedRedis, client: redis.Redis) -> None:
    worker = worked(server, client)
    client.hset(META, "input_stream", "")
    with pytest.raises(RedisUnusable, match=f"the field input_stream of {META} is gone"):
        read_status(client, worker.settings)


@pytest.mark.one_redis_version
def test_settings_in_meta_that_are_not_text_are_reported_as_settings_that_differ(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(server, client)
    client.hset(META, "settings", b"\xff")
    with pytest.raises(WorkerError, match="the group 'marketstate' runs with "):
        worker.keep()


@pytest.mark.one_redis_version
@pytest.mark.parametrize("rest", [b"\xc1\xff", b"\x05", b"\x92\x05\x06", b""])
def test_a_broken_commit_whose_rest_cannot_be_read_is_named_with_its_repair(
    rest: bytes, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Somebody has edited it: nothing of it is carried out."""
    worked(server, client).shards.release()
    states = published(client)
    client.hset(COMMITS, "shard-03", b"abc:begun:XADD x: no\n" + rest)
    with pytest.raises(RedisUnusable, match=r"the field shard-03 of .*: was the hash edited"):
        small_worker(server, "two")
    client.hdel(COMMITS, "shard-03")
    expire_leases(client)
    worker = small_worker(server, "three")
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    assert all(len(published(client)[symbol]) == len(states[symbol]) + 1 for symbol in SYMBOLS)


@pytest.mark.one_redis_version
@pytest.mark.parametrize("edited", [b"\xff\xfe", b"by hand", b""])
def test_an_edited_id_of_a_last_commit_costs_nothing_and_is_written_again(
    edited: bytes, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worked(server, client).shards.release()
    states, commits = published(client), client.hkeys(COMMITS)
    client.hset(COMMITS, mapping=dict.fromkeys(commits, edited))
    worker = small_worker(server, "two")
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    assert all(len(published(client)[symbol]) == len(states[symbol]) + 1 for symbol in SYMBOLS)
    assert edited not in client.hvals(COMMITS)


@pytest.mark.one_redis_version
def test_what_another_group_of_the_stream_has_stops_no_worker(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: it is looked at only to say that it publishes to the same keys."""
    settings = worked(server, client).settings
    client.xgroup_create(settings.keys.input, "other")
    client.set(settings.keys.meta_of("other"), "x")
    [found] = [each for each in preflight(settings) if each.subject == "group other"]
    assert (found.verdict, "does not say where it publishes" in found.text) == ("skip", True)
