"""Damage to the keys of one symbol affects only that symbol, until it is repaired (G9)."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from marketstate.worker.commands.verify.command import verify
from marketstate.worker.engine.preflight import preflight
from marketstate.worker.engine.status import read_status
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import START_MS, candle
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
    dead_letters,
    feed,
    published,
    wait_until_finished,
)

pytestmark = pytest.mark.one_redis_version

STATE = "quantum:marketstate:BTCUSDT"
RECORD = "quantum:marketstate-record:BTCUSDT"
WINDOW = f"{INTERNAL_PREFIX}:window:BTCUSDT"
MARKS = f"{INTERNAL_PREFIX}:shard:{shard_of('BTCUSDT', 16):02d}"
GREATEST = 2**63 - 1


class Damage(NamedTuple):
    cause: Callable[[Any], object]
    repair: Callable[[Any], object]
    reason: str


def one_candle(time_ms: int, close: float) -> Callable[[Any], object]:
    return lambda client: client.rpush(WINDOW, struct.pack("<qd", time_ms, close))


def mark(text: str | bytes) -> Callable[[Any], object]:
    return lambda client: client.hset(MARKS, "BTCUSDT", text)


def delete_window(client: Any) -> None:
    client.delete(WINDOW)


def delete_state(client: Any) -> None:
    client.delete(STATE)


def delete_record(client: Any) -> None:
    client.delete(RECORD)


def delete_mark(client: Any) -> None:
    client.hdel(MARKS, "BTCUSDT")


LATER = START_MS + 900 * 60_000
AT_LOAD = {
    "a window that is a string": Damage(
        in_place_of(WINDOW, "SET", WINDOW, "x"), delete_window, f"{WINDOW} holds a string"
    ),
    "a window that is a hash": Damage(
        in_place_of(WINDOW, "HSET", WINDOW, "a", "b"), delete_window, f"{WINDOW} holds a hash"
    ),
    "half a candle": Damage(
        lambda client: client.rpush(WINDOW, b"1234567"),
        lambda client: client.rpop(WINDOW),
        "list of something other than candles",
    ),
    "a candle in two halves": Damage(
        lambda client: client.rpush(WINDOW, b"12345678", b"12345678"),
        lambda client: client.rpop(WINDOW, 2),
        "list of something other than candles",
    ),
    "a close that is NaN": Damage(
        one_candle(LATER, float("nan")), delete_window, "it has a close of nan"
    ),
    "an infinite close": Damage(
        one_candle(LATER, float("inf")), delete_window, "it has a close of inf"
    ),
    "a close of 0": Damage(one_candle(LATER, 0.0), delete_window, "it has a close of 0.0"),
    "a close at no time": Damage(one_candle(-GREATEST, 1.0), delete_window, "a close at -9223"),
    "a close in another century": Damage(
        one_candle(GREATEST, 1.0), delete_window, "it has a close at 9223"
    ),
    "a close twice": Damage(one_candle(START_MS, 1.0), delete_window, "do not increase"),
    "a mark that is not a number": Damage(mark("abc"), delete_mark, "b'abc' is not the time"),
    "an empty mark": Damage(mark(""), delete_mark, "b'' is not the time"),
    "a mark with a blank": Damage(mark("1 "), delete_mark, "b'1 ' is not the time"),
    "a mark with a line feed": Damage(mark("1\n"), delete_mark, "is not the time of a close"),
    "a mark that is not UTF-8": Damage(mark(b"\xff"), delete_mark, "is not the time of a close"),
    "a negative mark": Damage(mark("-5"), delete_mark, "b'-5' is not the time"),
    "a mark of 5,000 digits": Damage(mark("1" * 5_000), delete_mark, "is not the time of a close"),
    "a mark in another century": Damage(mark("9" * 15), delete_mark, "is not the time of a close"),
    "a state that is a string": Damage(
        in_place_of(STATE, "SET", STATE, "x"), delete_state, f"{STATE} holds a string"
    ),
    "a state that is a stream": Damage(
        in_place_of(STATE, "XADD", STATE, "*", "a", "b"), delete_state, f"{STATE} holds a stream"
    ),
    "a record that is a list": Damage(
        in_place_of(RECORD, "RPUSH", RECORD, "x"), delete_record, f"{RECORD} holds a list"
    ),
    "a record that is a hash": Damage(
        in_place_of(RECORD, "HSET", RECORD, "a", "b"), delete_record, f"{RECORD} holds a hash"
    ),
}


def states_of(client: redis.Redis, symbol: str) -> int:
    return len(published(client)[symbol])


@pytest.mark.parametrize("name", AT_LOAD)
def test_damage_that_is_found_at_the_start_costs_no_other_symbol_and_can_be_repaired(
    name: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5, G9"""
    damage = AT_LOAD[name]
    worked(server, client).shards.release()
    before = counters(client)
    damage.cause(client)
    worker = small_worker(server, "two")
    assert list(aside(client)) == [b"BTCUSDT"]
    assert damage.reason in aside(client)[b"BTCUSDT"].decode()

    feed(client, candles_of(SYMBOLS, FILLED, FILLED + 1))
    work_off(worker)
    after = {name: count - before.get(name, 0) for name, count in counters(client).items()}
    assert after == {"applied": 2, "emitted": 2, "dead": 2, "quarantined": 2}
    assert all(
        letter[b"error"].decode().startswith("quarantined: ")
        and damage.reason.encode() in letter[b"error"]
        for letter in dead_letters(client)
    )

    damage.repair(client)
    worker.keep()
    assert aside(client) == {}
    feed(client, candles_of(SYMBOLS, FILLED + 2, FILLED + 2))
    work_off(worker)
    assert counters(client)["applied"] == before["applied"] + 4
    assert len(dead_letters(client)) == 2


BEFORE_A_COMMIT = {
    "a window that is a string": AT_LOAD["a window that is a string"],
    "a window that is a hash": AT_LOAD["a window that is a hash"],
    "a state that is a string": AT_LOAD["a state that is a string"],
    "a state that is a stream": AT_LOAD["a state that is a stream"],
    "a record that is a list": AT_LOAD["a record that is a list"],
    "a record that is a hash": AT_LOAD["a record that is a hash"],
}


@pytest.mark.parametrize("name", BEFORE_A_COMMIT)
def test_damage_that_a_commit_meets_costs_no_other_symbol_and_can_be_repaired(
    name: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G9: the rest of the batch is committed without it, once."""
    damage = BEFORE_A_COMMIT[name]
    worker = worked(server, client)
    before, states = counters(client), states_of(client, "ETHUSDT")
    damage.cause(client)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED + 2))
    work_off(worker)
    after = {name: count - before.get(name, 0) for name, count in counters(client).items()}
    assert after == {"applied": 3, "emitted": 3, "dead": 3, "quarantined": 3}
    assert states_of(client, "ETHUSDT") == states + 3
    assert list(aside(client)) == [b"BTCUSDT"]

    damage.repair(client)
    # Without a renewal in between: the next candle is enough.
    feed(client, candles_of(SYMBOLS, FILLED + 3, FILLED + 3))
    work_off(worker)
    assert (counters(client)["applied"], aside(client)) == (before["applied"] + 5, {})


def test_a_repaired_symbol_continues_from_its_window(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6, G9: with the next candle it has a state again, and a gap."""
    worker = worked(server, client)
    in_place_of(STATE, "SET", STATE, "x")(client)
    states = states_of(client, "BTCUSDT")
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    assert states_of(client, "BTCUSDT") == states
    client.delete(STATE)
    feed(client, candles_of(SYMBOLS, FILLED + 1, FILLED + 1))
    work_off(worker)
    assert states_of(client, "BTCUSDT") == states + 1
    assert counters(client)["gap"] == 1


def test_hundreds_of_damaged_symbols_in_one_batch_cost_no_other(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: another program has written to all the keys that we publish to."""
    symbols = tuple(f"S{i}USDT" for i in range(300))
    worker = small_worker(server)
    worker.batch_size.most = 500
    for symbol in symbols:
        client.set(f"quantum:marketstate:{symbol}", "x")
    feed(client, candles_of((*symbols, "ETHUSDT"), 0, 0))
    work_off(worker)
    assert counters(client) == {"applied": 1, "dead": 300, "quarantined": 300}
    assert len(aside(client)) == 300
    for symbol in symbols:
        client.delete(f"quantum:marketstate:{symbol}")
    for _ in range(3):
        worker.keep()
    assert aside(client) == {}


def test_a_field_of_the_marks_that_cannot_be_a_symbol_is_set_aside_under_its_own_name(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9"""
    worked(server, client).shards.release()
    names = (b"\xff\xfe", b"a b", b"", b"x" * 65, b"\x1b[2J", b"line\nfeed")
    for name in names:
        client.hset(MARKS, name, 0)
    worker = small_worker(server, "two")
    shard = f"shard-{shard_of('BTCUSDT', 16):02d}"
    assert set(aside(client)) == {f"{shard} {name!r}".encode() for name in names}
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    assert "dead" not in counters(client)
    client.hdel(MARKS, *names)
    worker.keep()
    assert aside(client) == {}


def test_a_repair_while_no_worker_runs_is_noticed_by_the_next(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: also of a symbol that has no mark yet."""
    worker = small_worker(server)
    client.set(STATE, "x")
    feed(client, candles_of(SYMBOLS, 0, 0))
    work_off(worker)
    worker.shards.release()
    client.delete(STATE)
    assert list(aside(client)) == [b"BTCUSDT"]
    again = small_worker(server, "two")
    assert aside(client) == {}
    feed(client, candles_of(SYMBOLS, 1, 1))
    work_off(again)
    assert counters(client) == {"applied": 3, "dead": 1, "quarantined": 1}


def test_a_worker_that_has_lost_the_shard_notes_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4"""
    worker = worked(server, client)
    client.set(worker.keys.lease(shard_of("BTCUSDT", 16)), "other:99")
    in_place_of(WINDOW, "SET", WINDOW, "x")(client)
    changes = worker.advance([])
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    changes = worker.advance(worker.fetch())
    worker.shards.set_aside(changes, {"BTCUSDT": "it is damaged"})
    assert aside(client) == {}


def test_a_state_that_is_due_by_the_wall_clock_and_damaged_holds_up_no_other(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9"""
    worker = worked(server, client, rate_clock="wall", publish_interval=1)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    states = states_of(client, "ETHUSDT")
    in_place_of(STATE, "SET", STATE, "x")(client)
    # As if a second had passed since the last state of each.
    for _, _, memory in worker.shards.remembered():
        memory.mark = memory.mark._replace(published_ms=1)
    for _ in range(2):
        worker._next_look_s = 0.0
        worker.work_on_a_batch()
    assert states_of(client, "ETHUSDT") == states + 1
    assert list(aside(client)) == [b"BTCUSDT"]


def test_status_check_and_verify_show_what_is_set_aside(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9"""
    worker = worked(server, client)
    in_place_of(STATE, "SET", STATE, "x")(client)
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    reason = f"{STATE} holds a string; rename or delete it"
    status = read_status(client, worker.settings)
    assert (status.quarantine, status.counters["quarantined"]) == ({"BTCUSDT": reason}, 1)
    shown = f"BTCUSDT: is set aside: {reason}"
    assert f"warn {shown}" in [str(finding) for finding in preflight(worker.settings)]
    found = [str(finding) for finding in verify(worker.settings)]
    assert f"FAIL {shown}" in found
    assert not any("ETHUSDT" in finding and "set aside" in finding for finding in found)


@pytest.mark.parametrize("name", AT_LOAD)
def test_status_and_verify_read_what_no_worker_has_met_yet(
    name: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9"""
    worker = worked(server, client)
    AT_LOAD[name].cause(client)
    assert {one.symbol for one in read_status(client, worker.settings).symbols} == set(SYMBOLS)
    found = [finding for finding in verify(worker.settings) if finding.subject == "BTCUSDT"]
    assert "FAIL" in {finding.verdict for finding in found}


@pytest.mark.parametrize("spoil", ["counters", "members", "lease"])
def test_status_reads_whatever_another_program_has_written(
    spoil: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(server, client)
    odd = [b"abc", b"\xff", b"1" * 5_000, "²".encode(), b""]
    for i, value in enumerate(odd):
        if spoil == "counters":
            client.hset(worker.keys.counters, b"x%d" % i, value)
            client.hset(worker.keys.counters, b"\xff%d" % i, value)
        elif spoil == "members":
            client.hset(worker.keys.members, b"x%d" % i, value + b":10000:x")
        else:
            client.set(worker.keys.lease(i), b"\xff:" + value)
    status = read_status(client, worker.settings)
    assert status.counters == {"applied": 2 * FILLED, "emitted": 4}
    assert [one.worker_id for one in status.workers] == ["one"]


def test_workers_survive_one_string_in_place_of_a_state(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G9: a real process, which logs it once and exits with 0."""
    client.set(STATE, "x")
    with WorkerProcess(server.port, tmp_path, start="replay") as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, [candle(symbol, i, 100.0) for i in range(20) for symbol in SYMBOLS])
        wait_until_finished(client, 40)
        assert worker.terminate() == 0
    assert counters(client) == {"applied": 20, "dead": 20, "quarantined": 20}
    assert worker.log.count("BTCUSDT is set aside") == 1
