"""Each kind of fault does what it says: one that never bites proves nothing."""

import json
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import CandleRejected, decode_candle
from marketstate.schemas.interval import interval_ms
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.fault.chaos import notes
from tests.fault.chaos.clock import Clock, build_library
from tests.fault.chaos.entries import MOST_AHEAD_S, entries, new_candle, symbols_of
from tests.fault.chaos.expected import reading
from tests.fault.chaos.faults.bookkeeping import JUNK
from tests.fault.chaos.faults.caches import cache_damaged
from tests.fault.chaos.faults.foreign import read_and_delete
from tests.fault.chaos.faults.rollback import rolled_back_alive
from tests.fault.chaos.faults.symbols import DAMAGES, Damage, do_damage, repair, repair_all
from tests.fault.chaos.faults.table import TABLE, UPGRADE
from tests.fault.chaos.faults.upgrade import upgrade
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.history import as_text
from tests.fault.chaos.menagerie import MONSTERS
from tests.fault.chaos.names import GROUP, Names
from tests.fault.chaos.one_server import OneServer
from tests.fault.chaos.reference import judged_by
from tests.fault.chaos.schedule import schedule
from tests.fault.chaos.servers import WORKERS_PASSWORD, WORKERS_USER, RedisServer
from tests.fault.chaos.stage import Stage, Steps
from tests.fault.chaos.workers import WorkerProcesses
from tests.support.redis_versions import older_server
from tests.support.worker_process import wait_until

pytestmark = pytest.mark.one_redis_version

SYMBOL = "AUSDT"
T0 = 1_746_373_259_999
NAMES = Names()
KEYS = {
    "state": f"{NAMES.state_prefix}{SYMBOL}",
    "record": f"{NAMES.record_prefix}{SYMBOL}",
    "window": f"{NAMES.window_prefix}{SYMBOL}",
    "mark": NAMES.marks(NAMES.shard_of(SYMBOL)),
}


@pytest.fixture
def healthy(client: redis.Redis) -> redis.Redis:
    """A symbol as workers leave it, a lease, and a dead letter."""
    client.rpush(KEYS["window"], *(struct.pack("<qd", T0 + i, 1.5) for i in range(3)))
    client.hset(KEYS["state"], "sigma", "0.1")
    client.pexpire(KEYS["state"], 600_000)
    client.set(KEYS["record"], "{}", px=600_000)
    client.hset(KEYS["mark"], SYMBOL, str(T0))
    client.set(NAMES.lease(NAMES.shard_of(SYMBOL)), "w001:7")
    client.xadd(NAMES.dead, {"error": "bad"})
    return client


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.what)
def test_a_damage_changes_the_key_and_its_repair_restores_every_byte(
    damage: Damage, healthy: redis.Redis
) -> None:
    key = KEYS[damage.key]
    before = healthy.dump(key)
    do_damage(healthy, NAMES, SYMBOL, damage)
    assert healthy.dump(key) != before
    assert healthy.exists(NAMES.lease(NAMES.shard_of(SYMBOL))) == 0
    repair(healthy, NAMES, SYMBOL, damage.key)
    assert healthy.dump(key) == before
    assert [
        (note["what"], note["dead"], note["finished"]) for note in notes.read(healthy, NAMES)
    ] == [
        ("damaged", 1, "0-0"),
        ("repaired", 1, "0-0"),
    ]


def test_the_damage_of_a_state_keeps_its_expiry(healthy: redis.Redis) -> None:
    do_damage(healthy, NAMES, SYMBOL, DAMAGES[0])
    repair(healthy, NAMES, SYMBOL, "state")
    left_ms: Any = healthy.pttl(KEYS["state"])
    assert 0 < left_ms <= 600_000


def test_what_is_still_damaged_at_the_end_is_repaired(healthy: redis.Redis) -> None:
    before = healthy.dump(KEYS["mark"])
    do_damage(healthy, NAMES, SYMBOL, next(one for one in DAMAGES if one.key == "mark"))
    repair_all(healthy, NAMES)
    assert healthy.dump(KEYS["mark"]) == before
    repair_all(healthy, NAMES)
    assert [note["what"] for note in notes.read(healthy, NAMES)] == ["damaged", "repaired"]


@pytest.mark.parametrize("junk", JUNK)
def test_a_damaged_counter_is_noted_with_what_it_was(junk: str, client: redis.Redis) -> None:
    """And what was damaged already counts nothing."""
    client.hset(NAMES.counters, "applied", 42)
    for _ in range(2):
        notes.act(client, NAMES, [("COUNTER", "applied", junk)], what="counter", name="applied")
    assert client.hget(NAMES.counters, "applied") == junk.encode()
    assert [note["was"] for note in notes.read(client, NAMES)] == ["42", "0"]


def feeder_of(server: EmbeddedRedis) -> Feeder:
    servers: Any = SimpleNamespace(client=server.client, known_port=server.port)
    return Feeder(NAMES.input, entries(1, 10, T0, symbols_of(NAMES)), T0, servers, seed=1)


def test_the_feeder_goes_on_behind_entries_of_a_fault(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    feeder = feeder_of(server)
    feeder.start()
    try:
        for goal in (0, 4, 10):
            feeder.goal = goal
            wait_until(lambda: feeder.fed == feeder.goal, "it is fed")
            notes.act(client, NAMES, [("EXTRA", "payload", json.dumps(new_candle(SYMBOL, T0)))])
    finally:
        feeder.stop()
    found: Any = client.xrange(NAMES.input)
    numbers = [(int(fields[b"trace_id"]), b"extra" in fields) for _, fields in found]
    fed = [(number, False) for number in range(10)]
    assert numbers == [(-1, True), *fed[:4], (3, True), *fed[4:], (9, True)]


def test_nothing_is_fed_while_the_feeder_is_held(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    feeder = feeder_of(server)
    feeder.hold()
    feeder.goal = 10
    feeder.start()
    try:
        assert client.xlen(NAMES.input) == 0
        feeder.go_on()
        wait_until(lambda: feeder.fed == 10, "it is fed")
    finally:
        feeder.stop()


def test_the_clocks_of_redis_and_of_a_program_can_be_set(
    any_server_binary: Path, tmp_path: Path
) -> None:
    """And the library counts how often somebody has read the wrong time."""
    library = build_library(tmp_path)
    server = RedisServer(any_server_binary, tmp_path / "redis", Clock(library, tmp_path / "a"))
    clock = Clock(library, tmp_path / "b")
    server.start()
    try:
        if not server.loads_libraries:
            pytest.skip("this server is linked statically: its clock cannot be set")
        for offset_s in (-300, 240, 0):
            server.clock.set(offset_s)
            clock.set(offset_s)
            told = subprocess.check_output(
                [sys.executable, "-c", "import time; print(time.time())"], env=clock.environment
            )
            seconds, _ = server.command("TIME")
            assert round((seconds - time.time() - offset_s) / 100) == 0
            assert round((float(told) - time.time() - offset_s) / 100) == 0
    finally:
        server.kill()
    assert server.clock.times_asked > 0
    assert clock.times_asked > 0


def test_workers_have_the_rights_of_the_deployment_until_one_is_taken_away(
    any_server_binary: Path, tmp_path: Path
) -> None:
    clock = Clock(build_library(tmp_path), tmp_path / "clock")
    server = RedisServer(any_server_binary, tmp_path / "redis", clock)
    server.start()
    user = {"username": WORKERS_USER, "password": WORKERS_PASSWORD}
    try:
        with redis.Redis(port=server.port, protocol=2, **user) as worker:  # type: ignore[arg-type]
            worker.xadd(NAMES.input.replace("market.klines", "marketstate"), {"a": "b"})
            # Redis 7.2 logs that the client may not report its version.
            server.command("ACL", "LOG", "RESET")
            server.command("ACL", "SETUSER", WORKERS_USER, "-xadd")
            with pytest.raises(redis.exceptions.NoPermissionError):
                worker.xadd(NAMES.input.replace("market.klines", "marketstate"), {"a": "b"})
        assert [entry["username"] for entry in server.command("ACL LOG")] == [WORKERS_USER]
        server.kill()
        server.start("--rename-command", "XADD", "my-xadd")
        with pytest.raises(redis.ResponseError, match="unknown command"):
            server.command("XADD", NAMES.input, "*", "a", "b")
        assert server.command("my-xadd", NAMES.input, "*", "a", "b") != b""
    finally:
        server.kill()


@pytest.fixture
def stage(any_server_binary: Path, tmp_path: Path) -> Iterator[Stage]:
    """A Redis, to be upgraded if there is an older one, with a group; and no workers."""
    library = build_library(tmp_path)
    one = OneServer(any_server_binary, tmp_path, library, older_server(any_server_binary))
    processes = WorkerProcesses(tmp_path, tmp_path, library, {}, print)
    feeder = Feeder(NAMES.input, [], T0, one, seed=1)
    one.master.command("XGROUP", "CREATE", NAMES.input, GROUP, "0", "MKSTREAM")
    feeder.start()
    yield Stage(NAMES, one, processes, feeder, 0, print, print)
    feeder.stop()
    one.close()


def played(steps: Steps) -> bool:
    """What the fault returns at its end."""
    while True:
        try:
            time.sleep(next(steps))
        except StopIteration as end:
            return bool(end.value)


def test_a_rollback_forgets_what_came_later_and_breaks_no_connection(stage: Stage) -> None:
    with stage.client() as client:
        client.set("before", 1)
        number = client.client_id()
        # The fault says so when the other server has stayed behind.
        stage.note = lambda _: client.set("later", 1)
        played(rolled_back_alive(stage, random.Random(1)))
        assert client.mget("before", "later") == [b"1", None]
        assert client.client_id() == number
        client.set("after", 1)


def test_an_upgrade_keeps_the_data(stage: Stage) -> None:
    before = stage.servers.master.version
    stage.one_server.master.command("SET", "before", 1)
    bit = played(upgrade(stage, random.Random(1)))
    assert bit == (before != stage.servers.master.version)
    assert stage.one_server.master.command("GET", "before") == b"1"


def test_what_a_foreign_program_reads_without_a_trace_is_noted(stage: Stage) -> None:
    stage.one_server.master.command("XGROUP", "CREATECONSUMER", NAMES.input, GROUP, "shard-00")
    for seed in range(4):
        read_and_delete(stage, random.Random(seed), without_a_trace=True)
    with stage.client() as client:
        noted = sum(len(note["taken"]) for note in notes.read(client, NAMES))
        pending: Any = client.xpending(NAMES.input, GROUP)
        assert (noted, pending["pending"]) == (client.xlen(NAMES.input), 0)
        read_and_delete(stage, random.Random(4), without_a_trace=False)
        pending = client.xpending(NAMES.input, GROUP)
        assert noted + pending["pending"] == client.xlen(NAMES.input) > noted
    assert stage.everything_is_read()


def test_each_damaged_cache_comes_with_the_first_candle_of_its_symbol(stage: Stage) -> None:
    played(cache_damaged(stage, random.Random(1)))
    with stage.client() as client:
        entries_found: Any = client.xrange(NAMES.input)
        symbols = {json.loads(fields[b"payload"])["symbol"] for _, fields in entries_found}
        assert {key.decode() for key in client.scan_iter("candles:*")} == {
            f"candles:{symbol}:1m" for symbol in symbols
        }


@pytest.mark.parametrize("number", range(len(MONSTERS)))
def test_checker_and_worker_are_of_one_mind_about_each_monster(number: int) -> None:
    """Apart from that, they share no code."""
    fields = MONSTERS[number](new_candle(SYMBOL, T0))
    as_texts = {as_text(name): as_text(value) for name, value in fields.items()}
    settings = judged_by(max_ahead_ms=MOST_AHEAD_S * 1_000)
    try:
        candle = decode_candle(fields, T0, MOST_AHEAD_S * 1_000)
    except CandleRejected:
        wanted = "dead"
    else:
        is_ours = candle.interval is None or interval_ms(candle.interval) == 60_000
        wanted = "candle" if candle.is_closed and is_ours else "ignored"
    found = reading(f"{T0}-0", as_texts, settings)
    assert (found if isinstance(found, str) else "candle") == wanted


def test_a_schedule_has_each_kind_and_an_upgrade_once_and_early() -> None:
    names = [planned.fault.name for planned in schedule(3, 100, frozenset(TABLE))]
    assert set(names) == TABLE.keys()
    assert names.count(UPGRADE) == 1
    assert names.index(UPGRADE) <= len(names) // 4


def test_the_same_seed_gives_the_same_schedule() -> None:
    def plan(seed: int) -> list[tuple[str, float, random.Random]]:
        return [(one.fault.name, one.gap_s, one.rng) for one in schedule(seed, 50, TABLE.keys())]

    assert [one[:2] for one in plan(3)] == [one[:2] for one in plan(3)]
    assert [one[:2] for one in plan(3)] != [one[:2] for one in plan(4)]
