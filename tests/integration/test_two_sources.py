"""Synthetic prices and real candles are never mixed; commands say first what is invented."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.engine.invented import invented
from marketstate.worker.engine.loop import WAITING_FOR_ID
from marketstate.worker.errors import TwoSources
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.preflights import verdicts
from tests.support.records import make_record, publish
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    INPUT,
    INTERNAL_PREFIX,
    OUTPUT,
    WorkerProcess,
    everything,
    feed,
    wait_until,
)

BOTH = pytest.mark.parametrize(
    ("first", "second"), [("candles", "synthetic"), ("synthetic", "candles")]
)
LIVE = "workers with MARKETSTATE_SOURCE=synthetic publish to the same keys as this group"


def invent(*symbols: str, number: int = 0) -> list[MarketStateRecord]:
    return [
        msgspec.structs.replace(make_record(symbol, number), source="synthetic")
        for symbol in symbols
    ]


def run(server: EmbeddedRedis, folder: Path, *command: str, **settings: object) -> tuple[int, Any]:
    with WorkerProcess(server.port, folder, *command, **settings) as process:
        return process.exit_code(), process.log


@BOTH
def test_a_worker_of_the_other_source_is_refused_and_changes_nothing(
    first: str, second: str, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Invented prices on live keys went unnoticed for weeks."""
    # Candles of a week, so that none comes while the keys are compared.
    same: dict[str, object] = {"lease_seconds": 3, "candle_interval": "1w", "symbols": "BTCUSDT"}
    with WorkerProcess(server.port, tmp_path, source=first, worker_id="live", **same) as live:
        live.wait_for_log("holding 16 of 16 shards")
        if first == "synthetic":
            counters = f"{INTERNAL_PREFIX}.synthetic:counters"
            wait_until(lambda: client.hget(counters, "applied") == b"300", "candles are applied")
        before = everything(client)
        code, log = run(server, tmp_path, "worker", source=second, **same)
        assert (code, everything(client)) == (2, before)
        assert f"its MARKETSTATE_SOURCE is {second}; set it to the source of the others" in log
        assert "stop 'live' and all others first" in log
        code, log = run(server, tmp_path, "check", source=second, **same)
        assert (code, log.splitlines()[-1].startswith("FAIL the group 'marketstate'")) == (2, True)
        assert live.terminate() == 0
    with WorkerProcess(server.port, tmp_path, source=second, **same) as other:
        other.wait_for_log("holding 16 of 16 shards")


def test_a_worker_of_the_other_source_that_was_killed_is_in_the_way_only_for_its_lease(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    killed = SteppedWorker(server, "killed", lease_seconds=3_600)
    killed.keep()
    with WorkerProcess(server.port, tmp_path, source="synthetic", lease_seconds=600) as other:
        other.wait_for_log(f"{WAITING_FOR_ID}: the group 'marketstate' publishes real candles")
        client.delete(killed.keys.members)  # as if its lease had expired
        other.wait_for_log("holding 16 of 16 shards")


@BOTH
def test_two_sources_that_start_at_the_same_moment_do_not_both_get_in(
    first: str, second: str, server: EmbeddedRedis
) -> None:
    """Both have passed every check before either is a member."""
    one = SteppedWorker(server, "one", source=first)
    two = SteppedWorker(server, "two", source=second)
    assert len(one.keep()) == 16
    with pytest.raises(TwoSources):
        two.keep()
    assert len(one.keep()) == 16
    one.shards.release()
    assert len(two.keep()) == 16


def test_a_worker_that_is_a_member_stays_when_one_of_another_version_joins(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Version 0.1 does not look. It must not end the live workers."""
    live = SteppedWorker(server, "live")
    live.keep()
    old = SteppedWorker(server, "old", source="synthetic")
    now_ms = int(time.time() * 1_000)
    client.hset(f"{INTERNAL_PREFIX}.synthetic:members", "old", f"{now_ms}:10000:a")
    assert len(live.keep()) == 16
    assert live.keys.members_of_other_source == old.keys.members


@pytest.mark.parametrize("name", ["output_prefix", "output_stream"])
def test_one_shared_output_is_enough(name: str, server: EmbeddedRedis) -> None:
    SteppedWorker(server, "live").keep()
    others = {"output_prefix": "test:marketstate:", "output_stream": "test:marketstate"}
    del others[name]
    with pytest.raises(TwoSources):
        SteppedWorker(server, "test", source="synthetic", **others).keep()


def test_two_sources_with_outputs_of_their_own_may_run(server: EmbeddedRedis) -> None:
    SteppedWorker(server, "live").keep()
    others = {"output_prefix": "test:marketstate:", "output_stream": "test:marketstate"}
    other = SteppedWorker(server, "test", source="synthetic", **others)
    assert len(other.keep()) == 16
    found = verdicts(other.settings)
    assert (found[0], set(found[1:])) == ("warn", {"ok"})


def test_damaged_keys_of_the_other_group_stop_nobody(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9."""
    other = f"{INTERNAL_PREFIX}.synthetic"
    client.set(f"{other}:meta", "x")
    one = SteppedWorker(server, "one")
    assert len(one.keep()) == 16
    one.shards.release()
    client.delete(f"{other}:meta")
    client.hset(f"{other}:meta", "settings", "a output_prefix=quantum:marketstate: output_stream=b")
    client.set(f"{other}:members", "x")
    assert len(one.keep()) == 16


def test_synthetic_settings_are_said_first(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    said = (
        "SYNTHETIC PRICES: MARKETSTATE_SOURCE is synthetic: what these workers publish to "
        f"quantum:marketstate:* and {OUTPUT} is invented"
    )
    given: dict[str, object] = {"source": "synthetic", "symbols": "BTCUSDT"}
    with WorkerProcess(server.port, tmp_path, **given) as worker:
        wait_until(lambda: client.xlen(f"{INPUT}.synthetic") >= 300, "candles are fed")
        worker.wait_for_log("holding 16 of 16 shards")
        code, log = run(server, tmp_path, "check", **given)
        assert (code, log.splitlines()[0]) == (0, f"warn {said}")
        code, log = run(server, tmp_path, "verify", "--max-state-age", "inf", **given)
        assert (code, log.splitlines()[0]) == (0, f"warn {said}")
        code, log = run(server, tmp_path, "status", **given)
        assert (code, log.splitlines()[0]) == (0, said)
        code, log = run(server, tmp_path, "status", "--json", **given)
        assert (code, json.loads(log)["synthetic"]) == (0, [said])
    assert f"warn {said}" in worker.log


def test_synthetic_states_of_others_on_the_keys_of_a_live_group_are_said_first(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Whoever writes them, of whatever group and version."""
    live = SteppedWorker(server, "live", lease_seconds=120)
    live.keep()
    feed(client, made_candles(("BTCUSDT",), 258))
    live.finish_all()
    publish(client, invent("ETHUSDT", "SOLUSDT"))
    said = f"SYNTHETIC PRICES: 2 of the last 4 states in {OUTPUT} are invented (source synthetic)"
    code, log = run(server, tmp_path, "check")
    assert (code, log.startswith(f"warn {said}"), LIVE in log.splitlines()[0]) == (0, True, True)
    assert "of ETHUSDT, SOLUSDT: workers" in log.splitlines()[0]
    code, log = run(server, tmp_path, "verify", "--max-state-age", "inf")
    assert (code, log.startswith(f"FAIL {said}")) == (4, True)
    code, log = run(server, tmp_path, "status")
    assert (code, log.startswith(said)) == (0, True)
    publish(client, [make_record("XRPUSDT", 0)])
    settings = msgspec.structs.replace(live.settings, source="synthetic")
    of_settings, of_states = invented(client, settings)
    assert "MARKETSTATE_SOURCE is synthetic" in of_settings.text
    assert (of_states.is_recent, "3 of the last 5 states" in of_states.text) == (True, True)
    assert "are of real candles (source candles)" in of_states.text


@pytest.mark.parametrize("command", ["status", "verify"])
def test_it_is_said_even_where_there_is_no_group(
    command: str, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    publish(client, invent("BTCUSDT"))
    code, log = run(server, tmp_path, command)
    assert (code, "SYNTHETIC PRICES" in log.splitlines()[0]) == (3, True)
    assert "has no group" in log.splitlines()[-1]


def test_old_synthetic_states_are_a_warning(server: EmbeddedRedis, client: redis.Redis) -> None:
    """After the way back to real candles they are there until newer ones push them out."""
    worker = SteppedWorker(server, "live")
    record = msgspec.json.encode(invent("BTCUSDT")[0])
    hour_ago_ms = int(time.time() * 1_000) - 3_600_000
    client.xadd(OUTPUT, {"symbol": "BTCUSDT", "record": record}, id=f"{hour_ago_ms}-0")
    (found,) = invented(client, worker.settings)
    assert (found.is_recent, "the newest 3,600 s old, of BTCUSDT" in found.text) == (False, True)
    assert LIVE not in found.text


def test_what_other_programs_write_is_not_taken_for_synthetic(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = SteppedWorker(server, "live")
    for record in (b"", b"\xff", b"{}", b'{"symbol":1,"source":"synthetic"}', b"[" * 5_000):
        client.xadd(OUTPUT, {"symbol": "BTCUSDT", "record": record})
    client.xadd(OUTPUT, {"symbol": "BTCUSDT", "sigma": "0.1"})
    publish(client, [make_record("BTCUSDT", 0)])
    assert list(invented(client, worker.settings)) == []
