"""`marketstate repartition`: the same states as without it, and safe to break off and repeat."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.commands.repartition import command
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.partitioned import feed_by_symbol
from tests.support.replaying import run
from tests.support.small_workers import FILLED, small_worker, work_off
from tests.support.stepped_partitions import (
    SYMBOLS,
    partition_workers,
    published_by,
    published_by_one,
    work_all_off,
)
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INPUT, everything, feed, published

CANDLES = made_candles(SYMBOLS, 2 * FILLED)
HALF = len(CANDLES) // 2
TWO_INTERVALS = "1m,2m"


@pytest.fixture
def wanted(server: EmbeddedRedis, client: redis.Redis) -> dict[str, Any]:
    """What one group publishes of all candles; then Redis is empty."""
    return published_by_one(server, client, CANDLES)


def stopped(client: redis.Redis, *workers: SteppedWorker) -> None:
    client.delete(*(worker.keys.members for worker in workers))


def half_done(server: EmbeddedRedis, client: redis.Redis, **settings: Any) -> SteppedWorker:
    """A group without partitions that has finished half of the candles, and its workers stopped."""
    feed(client, CANDLES[:HALF])
    worker = small_worker(server, start="replay", **settings)
    work_off(worker)
    stopped(client, worker)
    return worker


def together(*parts: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {symbol: [one for part in parts for one in part.get(symbol, [])] for symbol in SYMBOLS}


def counters_of(client: redis.Redis, workers: list[SteppedWorker]) -> int:
    return sum(int(client.hget(worker.keys.counters, "applied") or 0) for worker in workers)


def test_half_before_and_half_after_give_the_same_states(
    server: EmbeddedRedis, client: redis.Redis, wanted: dict[str, Any], tmp_path: Path
) -> None:
    """G2, G3: from one group to two partitions, and from two to three."""
    old = half_done(server, client)
    of_one = published(client)
    quarter = HALF + HALF // 2
    # A publisher that writes to the partitions already.
    feed_by_symbol(client, CANDLES[HALF:quarter], 2)
    before = everything(client)
    code, said = run(server, tmp_path, "repartition", "--to", 2)
    assert (code, "nothing was moved" in said) == (0, True), said
    assert everything(client) == before
    code, said = run(server, tmp_path, "repartition", "--to", 2, "--yes")
    assert (code, "moved to 2 partitions" in said) == (0, True), said
    assert "for 10 min 00 s, quantum:marketstate:* has symbols twice" in said
    after = everything(client)
    of_old = {key for key in before if b"{p" not in key}
    assert {key: after[key] for key in of_old} == {key: before[key] for key in of_old}
    there = "quantum:marketstate:{p00}:BTCUSDT"
    assert client.hgetall(there) == client.hgetall("quantum:marketstate:BTCUSDT")
    assert client.pttl("quantum:marketstate-record:{p00}:BTCUSDT") > 0
    two = partition_workers(server)
    work_all_off(two)
    of_two = published_by(client, two)
    assert counters_of(client, two) == quarter
    stopped(client, *two)
    code, said = run(server, tmp_path, "repartition", "--to", 2, "--yes")
    assert code == 0, "once more, when there is nothing left to do"
    code, said = run(server, tmp_path, "purge", "--yes")
    assert (code, old.keys.meta.encode() in everything(client)) == (0, False), said
    client.delete(*(worker.keys.output_stream for worker in two))  # new ones have the same tags
    three = ("repartition", "--to", 3, "--group", "of-three")
    code, said = run(server, tmp_path, *three, "--yes", partitions=2)
    assert (code, "moved to 3 partitions" in said) == (0, True), said
    of_three = partition_workers(server, partitions=3, group="of-three")
    feed_by_symbol(client, CANDLES[quarter:], 3)
    work_all_off(of_three)
    assert counters_of(client, of_three) == len(CANDLES)
    assert together(of_one, of_two, published_by(client, of_three)) == wanted


@pytest.mark.one_redis_version
@pytest.mark.parametrize("breaks_at", ["move", "_prove", "join"])
def test_it_may_break_off_anywhere_and_be_repeated(
    server: EmbeddedRedis,
    client: redis.Redis,
    wanted: dict[str, Any],
    tmp_path: Path,
    breaks_at: str,
) -> None:
    """G3: after any step, also between the groups of two partitions."""
    half_done(server, client, intervals=TWO_INTERVALS)
    of_one = published(client)
    step, calls = vars(command)[breaks_at], 0

    def broken(*args: Any) -> Any:
        nonlocal calls
        done, calls = step(*args), calls + 1
        if calls == 1:
            raise redis.ConnectionError("the connection broke")
        return done

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, breaks_at, broken)
        # What was copied for another number must not stay.
        to = 3 if breaks_at == "move" else 2
        words = ("repartition", "--yes", "--to")
        code, said = run(server, tmp_path, *words, to, intervals=TWO_INTERVALS)
    assert code == 3, said
    code, said = run(server, tmp_path, *words, 2, intervals=TWO_INTERVALS)
    assert code == 0, said
    workers = partition_workers(server, intervals=TWO_INTERVALS)
    feed_by_symbol(client, CANDLES[HALF:], 2)
    work_all_off(workers)
    assert together(of_one, published_by(client, workers)) == wanted


@pytest.mark.one_redis_version
def test_what_the_old_group_did_after_it_was_moved_is_not_forgotten(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G5: the new group began where the old one was then."""
    half_done(server, client)
    join: Any = vars(command)["join"]

    def and_break_off(*args: Any) -> None:
        join(*args)
        raise redis.ConnectionError("the connection broke")

    monkeypatch.setattr(command, "join", and_break_off)
    assert run(server, tmp_path, "repartition", "--to", 2, "--yes")[0] == 3
    monkeypatch.undo()
    feed(client, CANDLES[HALF : HALF + 4])
    worker = small_worker(server)
    work_off(worker)
    stopped(client, worker)
    code, said = run(server, tmp_path, "repartition", "--to", 2, "--yes")
    assert (code, "exists already" in said) == (2, True), said


def test_what_is_not_finished_or_not_alone_is_refused_and_nothing_is_written(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    def refused(says: str, **settings: Any) -> None:
        before = everything(client)
        code, said = run(server, tmp_path, "repartition", "--to", 2, "--yes", **settings)
        assert (code in (2, 3), says in said) == (True, True), said
        assert everything(client) == before

    refused("so there is nothing to move")
    worker = half_done(server, client)
    feed(client, CANDLES[HALF : HALF + 3])
    refused("3 entries of quantum:stream:market.klines are unfinished")
    worker.fetch()
    refused("3 entries of quantum:stream:market.klines are unfinished")
    worker = small_worker(server, "two")
    client.hdel(worker.keys.members, "one")
    work_off(worker)
    refused("workers two are live")
    stopped(client, worker)
    client.hset(worker.keys.quarantine, "BTCUSDT", "damaged")
    refused("BTCUSDT is set aside: damaged")
    client.delete(worker.keys.quarantine)
    last_commit: Any = client.hget(worker.keys.commits, "shard-05")
    client.hset(worker.keys.commits, "shard-05", "0123:0:HSET x: no right")
    refused("no right")
    client.hset(worker.keys.commits, "shard-05", last_commit)
    client.set(worker.keys.members, "x")
    refused(f"the key {worker.keys.members} holds a string")
    client.delete(worker.keys.members)
    others = partition_workers(server)
    refused("workers one are live")
    stopped(client, *others)
    refused("the group 'marketstate' on quantum:stream:market.klines:{p00} exists already")


@pytest.mark.one_redis_version
def test_an_entry_that_comes_meanwhile_is_not_skipped(
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G5: a publisher that was not stopped, in a stream that both groups read."""
    workers = partition_workers(server)
    feed_by_symbol(client, CANDLES[:HALF], 2)
    work_all_off(workers)
    stopped(client, *workers)
    join: Any = vars(command)["join"]

    def later(*args: Any) -> Any:
        feed_by_symbol(client, CANDLES[HALF : HALF + 4], 2)
        return join(*args)

    monkeypatch.setattr(command, "join", later)
    words = ("repartition", "--to", 3, "--group", "new", "--yes")
    code, said = run(server, tmp_path, *words, partitions=2)
    assert (code, "were written to" in said) == (3, True), said
    monkeypatch.undo()
    code, said = run(server, tmp_path, *words, partitions=2)
    assert (code, "entries of" in said, "are unfinished" in said) == (3, True, True), said
    workers = partition_workers(server)
    work_all_off(workers)
    stopped(client, *workers)
    code, said = run(server, tmp_path, *words, partitions=2)
    assert code == 0, said
    new = partition_workers(server, partitions=3, group="new")
    work_all_off(new)
    assert counters_of(client, new) == HALF + 4
    code, said = run(server, tmp_path, "repartition", "--to", 3, "--yes", partitions=2)
    assert (code, "give the new group another name" in said) == (2, True), said


def lose_a_close(client: redis.Redis) -> None:
    client.rpop("quantum:marketstate-worker:marketstate:{p01}:window:ETHUSDT")


def lose_a_mark(client: redis.Redis) -> None:
    for key in client.keys("quantum:marketstate-worker:marketstate:{p01}:shard:*"):
        if client.hexists(key, "ETHUSDT"):
            client.hset(key, "ETHUSDT", "0")


@pytest.mark.one_redis_version
def exchange_intervals(client: redis.Redis) -> None:
    """The longer one gets what the candle interval had, and the other way round."""
    prefix = "quantum:marketstate-worker:marketstate:{p01}"
    base, longer = f"{prefix}:window:ETHUSDT", f"{prefix}:window.2m:ETHUSDT"
    for key, name in ((base, "aside"), (longer, base), ("aside", longer)):
        client.rename(key, name)
    shard = shard_of("ETHUSDT", 16, 2)
    keys = f"{prefix}:shard:{shard:02d}", f"{prefix}:shard.2m:{shard:02d}"
    marks: Any = [client.hget(key, "ETHUSDT") for key in keys]
    for key, mark in zip(keys, reversed(marks), strict=True):
        client.hset(key, "ETHUSDT", mark)


@pytest.mark.parametrize("spoil", [lose_a_close, lose_a_mark, exchange_intervals])
def test_what_was_damaged_on_the_way_is_noticed(
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[redis.Redis], None],
) -> None:
    half_done(server, client, intervals=TWO_INTERVALS)
    move: Any = vars(command)["move"]

    def spoiled(*args: Any) -> None:
        move(*args)
        spoil(client)

    monkeypatch.setattr(command, "move", spoiled)
    words = ("repartition", "--to", 2, "--yes")
    code, said = run(server, tmp_path, *words, intervals=TWO_INTERVALS)
    assert (code, "what was moved differs: 4 symbols" in said) == (3, True), said
    assert not client.exists(f"{INPUT}:{{p00}}")


def test_it_moves_to_another_redis(
    server: EmbeddedRedis, client: redis.Redis, wanted: dict[str, Any], tmp_path: Path
) -> None:
    """As to a cluster; then the new group may have the name of the old one."""
    feed_by_symbol(client, CANDLES[:HALF], 2)
    old = partition_workers(server, start="replay")
    work_all_off(old)
    stopped(client, *old)
    variables = tmp_path / "new.env"
    with EmbeddedRedis(server.binary) as other, other.client() as there:
        variables.write_text(f"MARKETSTATE_REDIS_PORT={other.port}\n")
        words = ("repartition", "--to", 3, "--environment", variables, "--yes")
        # What fails is told of the Redis in which it failed.
        there.config_set("maxmemory", 1)
        code, said = run(server, tmp_path, *words, partitions=2)
        assert (code, f":{other.port} db 0 is full" in said) == (3, True), said
        there.config_set("maxmemory", 0)
        window, key = old[0].keys.window("BTCUSDT"), "kept"
        client.rename(window, key)
        client.set(window, "not a window")
        code, said = run(server, tmp_path, *words, partitions=2)
        assert (code, f":{server.port} db 0 refuses" in said) == (3, True), said
        client.rename(key, window)
        code, said = run(server, tmp_path, *words, partitions=2)
        assert (code, "moved to 3 partitions" in said) == (0, True), said
        assert "PARTITIONS=3 and what the file of --environment has, for" in said
        new = partition_workers(other, partitions=3)
        feed_by_symbol(there, CANDLES[HALF:], 3)
        work_all_off(new)
        assert together(published_by(client, old), published_by(there, new)) == wanted


def test_every_interval_moves_and_goes_on(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, G3: also in the middle of longer candles."""
    several: dict[str, Any] = {"intervals": "1m,2m,7m", "start": "replay"}
    alone = small_worker(server, **several)
    candles = made_candles(SYMBOLS, 100)
    feed(client, candles)
    work_off(alone)
    wanted = {
        each.longer_interval: published(client, each.keys.output_stream)
        for each in alone.settings.each_interval
    }
    assert all(wanted.values())
    client.flushall()

    half = len(candles) // 2 + 3 * len(SYMBOLS)
    feed(client, candles[:half])
    one = small_worker(server, **several)
    work_off(one)
    stopped(client, one)
    code, said = run(server, tmp_path, "repartition", "--to", 2, intervals="1m,2m")
    assert (code, "not moved: windows of 7m, which MARKETSTATE_INTERVALS does" in said) == (0, True)
    code, said = run(
        server, tmp_path, "repartition", "--to", 2, "--yes", intervals=several["intervals"]
    )
    assert (code, f"{len(SYMBOLS)} symbols of the group" in said) == (0, True), said
    two = partition_workers(server, **several)
    feed_by_symbol(client, candles[half:], 2)
    work_all_off(two)
    for each in one.settings.each_interval:
        streams = [
            each.keys.output_stream,
            *(f"{each.keys.output_stream}:{{p{number:02d}}}" for number in range(2)),
        ]
        found = together(*(published(client, stream) for stream in streams))
        assert found == wanted[each.longer_interval]


def test_the_new_group_has_the_intervals_of_the_old_one(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    half_done(server, client)
    environment = tmp_path / "new.env"
    environment.write_text("MARKETSTATE_INTERVALS=1m,5m\n")
    code, said = run(server, tmp_path, "repartition", "--to", 2, "--environment", environment)
    assert code == 2
    assert "the new group has MARKETSTATE_INTERVALS=1m,5m, and the old one 1m: move it" in said
