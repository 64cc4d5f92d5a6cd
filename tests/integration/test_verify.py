"""`marketstate verify`: published states equal what the windows give, or a line says so."""

import json
import math
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.schemas.market_state import decode_record
from marketstate.worker.commands.verify.command import verify
from marketstate.worker.engine.preflight import Finding
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import closing_now, made_candles
from tests.support.feeding import SMALL_THETA
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    DEAD,
    INTERNAL_PREFIX,
    OUTPUT,
    WorkerProcess,
    expire_leases,
    feed,
    feed_fields,
    finished,
    wait_until,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
STATE = "quantum:marketstate:BTCUSDT"
RECORD = "quantum:marketstate-record:BTCUSDT"
WINDOW = f"{INTERNAL_PREFIX}:window:BTCUSDT"
MARKS = f"{INTERNAL_PREFIX}:shard:{shard_of('BTCUSDT', 16):02d}"


def worked(server: EmbeddedRedis, closes: int, **settings: Any) -> SteppedWorker:
    """A worker that holds all shards and has finished `closes` candles of each symbol."""
    worker = SteppedWorker(server, "one", **settings)
    worker.keep()
    with server.client() as client:
        feed(client, closing_now(made_candles(SYMBOLS, closes)))
    worker.finish_all()
    return worker


def found(worker: SteppedWorker, **bounds: Any) -> list[Finding]:
    return list(verify(worker.settings, **bounds))


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.verdict for finding in findings}


def text_of(findings: list[Finding], subject: str) -> str:
    return "; ".join(finding.text for finding in findings if finding.subject == subject)


def test_everything_is_ok_after_real_work(server: EmbeddedRedis) -> None:
    """G2: a state follows from its window alone, also after more closes than fit."""
    findings = found(worked(server, 320))
    assert set(verdicts(findings).values()) == {"ok"}
    expected = "2 of 2 states are byte for byte what their window gives"
    assert text_of(findings, "recomputed") == expected


def test_missing_candles_are_part_of_what_is_compared(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """A record of 0.1 does not have them, and is right without."""
    candles = closing_now(made_candles(SYMBOLS, 320))
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, [*candles[: 2 * 100], *candles[2 * 112 :]])
    worker.finish_all()
    record: Any = client.get(RECORD)
    assert b'"missing":12' in record
    assert set(verdicts(found(worker)).values()) == {"ok"}
    client.set(RECORD, record.replace(b',"missing":12', b""))
    assert verdicts(found(worker))["recomputed"] == "ok"
    client.set(RECORD, record.replace(b'"missing":12', b'"missing":11'))
    said = "missing is published as 11, but its window gives 12"
    assert text_of(found(worker), "BTCUSDT") == said


def test_a_window_that_is_ahead_of_its_state_is_compared_up_to_it(server: EmbeddedRedis) -> None:
    """The last state is 4 closes old, with a window that is filling and with a full one."""
    for closes in (257 + 4, 257 + 50 + 4):
        with server.client() as client:
            client.flushall()
        worker = worked(server, closes, publish_interval=300)
        with server.client() as client:
            newest = struct.unpack("<qd", client.lindex(WINDOW, -1) or b"")[0]
            emitted = int(client.hget(MARKS, "BTCUSDT") or 0)
        assert newest - emitted == 4 * 60_000
        assert verdicts(found(worker))["recomputed"] == "ok"


def test_a_window_that_has_moved_on_too_far_cannot_be_compared(server: EmbeddedRedis) -> None:
    """A separate verdict: neither right nor wrong."""
    worker = worked(server, 257 + 40, publish_interval=3_600, window_size=257)
    findings = found(worker)
    assert verdicts(findings)["BTCUSDT"] == verdicts(findings)["recomputed"] == "skip"
    assert (
        text_of(findings, "BTCUSDT")
        == "its window has moved on: 217 closes up to its state, 257 needed"
    )


@pytest.mark.parametrize("left", [0, 100, 280])
def test_a_window_that_is_deleted_or_cut_under_a_running_worker_fails(
    left: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The worker goes on from its memory, so nothing else shows that a restart loses closes."""
    candles = closing_now(made_candles(SYMBOLS, 302))
    worker = SteppedWorker(server, "one")
    worker.keep()
    feed(client, candles[: 2 * 300])
    worker.finish_all()
    if left:
        client.ltrim(WINDOW, -left, -1)
    else:
        client.delete(WINDOW)
    feed(client, candles[2 * 300 :])
    worker.finish_all()
    findings = found(worker)
    assert (verdicts(findings)["BTCUSDT"], verdicts(findings)["recomputed"]) == ("FAIL", "FAIL")
    expected = f"the window in Redis has {left + 2} closes up to this state, which had 300: "
    assert text_of(findings, "BTCUSDT").startswith(expected)
    assert "ETHUSDT" not in verdicts(findings)


def test_symbols_whose_window_is_filling_have_no_state_to_judge(server: EmbeddedRedis) -> None:
    findings = found(worked(server, 5))
    assert set(verdicts(findings).values()) == {"ok", "skip"}
    assert "symbols without a state yet: 2" in text_of(findings, "recomputed")


def _another_close(client: redis.Redis) -> None:
    packed: Any = client.lindex(WINDOW, -100)
    time_ms, close = struct.unpack("<qd", packed)
    changed: Any = struct.pack("<qd", time_ms, close * 1.001)
    client.lset(WINDOW, -100, changed)


def _another_record(client: redis.Redis) -> None:
    """All fields agree, but the window gives another record."""
    published: Any = client.get(RECORD)
    sigma = decode_record(published).sigma
    record = published.replace(repr(sigma).encode(), repr(sigma * (1 + 1e-15)).encode())
    assert record != published
    client.set(RECORD, record)


def _reordered_record(client: redis.Redis) -> None:
    client.set(RECORD, json.dumps(json.loads(client.get(RECORD) or b"")))


def _older_state(client: redis.Redis) -> None:
    entries: Any = client.xrange(OUTPUT)
    first = next(fields for _, fields in entries if fields[b"symbol"] == b"BTCUSDT")
    client.set(RECORD, first[b"record"])


BREAKAGES: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "another close": (_another_close, "recomputed", "is published as"),
    "another bit": (_another_record, "recomputed", "sigma is published as"),
    "another encoding": (_reordered_record, "recomputed", "would encode it differently"),
    "an older state": (_older_state, "complete", "its record says"),
    "no hash": (lambda client: client.delete(STATE), "complete", "its hash is missing"),
    "no record": (
        lambda client: client.delete(RECORD),
        "complete",
        "its hash has no record: another program wrote it",
    ),
    "a field less": (lambda c: c.hdel(STATE, "vr"), "complete", "its hash has no field 'vr'"),
    "another field": (lambda c: c.hset(STATE, "ts", "9"), "complete", "ts of its hash is b'9'"),
    "not JSON": (lambda c: c.set(RECORD, b"\xff{"), "complete", "its record cannot be read"),
    "another mark": (
        lambda c: c.hincrby(MARKS, "BTCUSDT", 1),
        "complete",
        "another program has written to it",
    ),
    "half a candle": (lambda c: c.rpush(WINDOW, b"half"), "recomputed", "its window is damaged"),
    "a close that is nan": (
        lambda c: c.lset(WINDOW, -9, c.lindex(WINDOW, -9)[:8] + struct.pack("<d", math.nan)),
        "recomputed",
        "its window is damaged",
    ),
    "no window": (lambda c: c.delete(WINDOW), "recomputed", "its window has no close at"),
    "its close missing": (lambda c: c.rpop(WINDOW), "recomputed", "its window has no close at"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_disagreement_is_reported_with_its_symbol(
    breakage: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(server, 259)
    broken, check, expected = BREAKAGES[breakage]
    broken(client)
    findings = found(worker)
    assert (verdicts(findings)["BTCUSDT"], verdicts(findings)[check]) == ("FAIL", "FAIL")
    assert expected in text_of(findings, "BTCUSDT")
    assert "ETHUSDT" not in verdicts(findings)


def test_states_must_be_fresh_and_the_output_stream_must_grow(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(server, 258)
    assert verdicts(found(worker, max_state_age_s=60))["fresh"] == "ok"
    wait_until(lambda: "FAIL" in verdicts(found(worker, max_state_age_s=0.5)).values(), "it ages")
    findings = found(worker, max_state_age_s=0.5)
    assert (verdicts(findings)["ETHUSDT"], verdicts(findings)["fresh"]) == ("FAIL", "FAIL")
    assert "no candle has arrived since; check the upstream" in text_of(findings, "ETHUSDT")
    feed(client, closing_now(made_candles(SYMBOLS, 1)))
    text = text_of(found(worker, max_state_age_s=0.5), "ETHUSDT")
    assert text.endswith("the workers are behind: lag 2, pending 0")
    expire_leases(client)
    text = text_of(found(worker, max_state_age_s=0.5), "ETHUSDT")
    assert text.endswith("no worker holds a shard; start one")
    client.hset(f"{INTERNAL_PREFIX}:shard:{shard_of('ETHUSDT', 16):02d}", "ETHUSDT", 1)
    text = text_of(found(worker, max_state_age_s=0.5), "ETHUSDT")
    assert re.search(r"for a close \d{5}d ago, allowed: 0.5s", text), text
    gone = {"max_state_age_s": 0.5, "ignored": frozenset(SYMBOLS)}
    assert verdicts(found(worker, **gone))["fresh"] == "skip"
    client.delete(OUTPUT)
    assert verdicts(found(worker))["output stream"] == "FAIL"
    client.xadd(OUTPUT, {"symbol": "BTCUSDT", "record": "{}"})
    assert "differs from the record of BTCUSDT" in text_of(found(worker), "output stream")


def test_a_state_that_has_expired_is_not_missing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The symbol had no candle for ten times what passes between two states."""
    worker = worked(server, 258, publish_interval=1)
    client.delete(STATE)
    assert verdicts(found(worker))["BTCUSDT"] == "FAIL"
    client.hincrby(MARKS, "BTCUSDT", -601_000)
    findings = found(worker, max_state_age_s=1_000)
    assert "its hash has expired, after 600 s" in text_of(findings, "BTCUSDT")
    assert (verdicts(findings)["BTCUSDT"], verdicts(findings)["fresh"]) == ("skip", "ok")


def test_backlog_holders_dead_letters_and_lost_entries_have_a_line_each(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5, G8."""
    worker = worked(server, 3)
    feed_fields(client, [{"symbol": "BTCUSDT", "close": "none"}])
    worker.finish_all()
    client.hincrby(f"{INTERNAL_PREFIX}:counters", "lost", 2)
    feed(client, made_candles(SYMBOLS, 2, seed=8))
    findings = found(worker, max_lag=4)
    warned = {"dead": "warn", "lost": "warn", "backlog": "ok", "workers": "ok"}
    assert {name: verdicts(findings)[name] for name in warned} == warned
    assert text_of(findings, "dead") == f"1 could not be read; see {DEAD}"
    assert "lag 4, pending 0" in text_of(findings, "backlog")
    assert verdicts(found(worker, max_lag=3))["backlog"] == "FAIL"
    assert verdicts(found(worker, max_age_s=0))["backlog"] == "FAIL"
    expire_leases(client)
    assert text_of(found(worker), "workers") == "no worker holds a shard; start one"


def test_late_candles_are_a_warning_until_there_is_a_state(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """As when older candles are put into the stream behind newer ones."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    newest_first = made_candles(("BTCUSDT",), 30)[::-1]
    feed(client, newest_first)
    worker.finish_all()
    findings = found(worker)
    assert verdicts(findings)["late"] == "warn"
    assert text_of(findings, "late").startswith("29 candles were older than the last one of their ")
    assert "put them into a cache, see deploy/README.md, No state yet" in text_of(findings, "late")
    feed(client, made_candles(("BTCUSDT",), 300)[30:])
    worker.finish_all()
    assert "late" not in verdicts(found(worker))


def test_parameters_that_have_changed_make_old_states_incomparable(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """All workers stopped, theta changed, one started: the old states stay for now."""
    worked(server, 258).shards.release()
    theta = tmp_path / "theta.json"
    theta.write_text('{"vol": {"ewma_lambda": 0.9}}')
    with WorkerProcess(server.port, tmp_path, theta_file=theta) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        code, output = verify_command(server, tmp_path, theta_file=theta)
        assert (code, output.count("was published with other parameters")) == (0, 2)
        code, output = verify_command(server, tmp_path)
        assert (code, "FAIL verify: the group" in output) == (2, True), output
    assert client.exists(STATE)


def verify_command(
    server: EmbeddedRedis, folder: Path, *options: str, **settings: object
) -> tuple[int, str]:
    with WorkerProcess(server.port, folder, "verify", *options, **settings) as process:
        return process.exit_code(), process.log


def test_verify_finds_nothing_wrong_while_workers_run(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Data that is compared is read in one transaction, and reading changes nothing."""
    candles = closing_now(made_candles(SYMBOLS, 900))
    feed(client, candles[:2])
    with WorkerProcess(server.port, tmp_path, batch=3) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, candles[2:])
        stepped = SteppedWorker(server, "reader")
        rounds = 0
        while finished(client) < len(candles):
            findings = found(stepped, max_age_s=60, max_state_age_s=float("inf"))
            assert "FAIL" not in verdicts(findings).values(), findings
            rounds += finished(client) > 2 * 257
    assert rounds > 3


def test_verify_prints_a_line_or_an_object_per_check_and_exits_with_4_if_one_fails(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worked(server, 258)
    code, output = verify_command(server, tmp_path)
    assert (code, len(output.splitlines())) == (0, 8), output
    client.hset(STATE, "ts", "9")
    code, output = verify_command(server, tmp_path, "--json")
    findings = [Finding(**json.loads(line)) for line in output.splitlines()]
    assert (code, verdicts(findings)["complete"]) == (4, "FAIL")
    assert verify_command(server, tmp_path, "--ignore", "ETHUSDT, BTCUSDT")[0] == 0
    client.flushall()
    code, output = verify_command(server, tmp_path)
    assert (code, output.count("FAIL verify: ")) == (3, 1)


def test_wanted_symbols_that_never_arrived_are_reported(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    findings = found(worked(server, 258, symbols="BTCUSDT,BTCUSD"))
    assert (
        verdicts(findings)["BTCUSD"],
        text_of(findings, "BTCUSD"),
    ) == ("warn", "no candle has arrived yet")
    assert "1 of 1 states" in text_of(findings, "recomputed")
    assert client.exists(STATE)


@pytest.mark.parametrize(("ahead_s", "verdict"), [(30, "ok"), (3_600, "FAIL")])
def test_a_state_from_the_future_is_not_fresh(
    ahead_s: int, verdict: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """As far as clocks differ it may be ahead."""
    worker = worked(server, 259)
    client.hset(MARKS, "BTCUSDT", int(time.time() * 1_000) + ahead_s * 1_000)
    findings = found(worker)
    assert verdicts(findings)["fresh"] == verdict
    assert ("in the future" in text_of(findings, "BTCUSDT")) == (verdict == "FAIL")


def test_a_group_without_room_for_new_symbols_is_a_warning(server: EmbeddedRedis) -> None:
    worker = worked(server, 3, max_symbols=2)
    assert text_of(found(worker), "symbols") == (
        "the group has 2, and MARKETSTATE_MAX_SYMBOLS allows 2: "
        "entries of new ones are dead letters"
    )


def test_each_longer_interval_is_judged_by_its_own_windows(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = worked(
        server, 60, theta=SMALL_THETA, window_size=12, intervals="1m,2m,5m", start="replay"
    )
    findings = found(worker)
    assert set(verdicts(findings).values()) == {"ok"}
    expected = "2 of 2 states are byte for byte what their window gives"
    for interval in ("", " 2m", " 5m"):
        assert text_of(findings, f"recomputed{interval}") == expected
        assert "its last entry, for " in text_of(findings, f"output stream{interval}")
    # A state of 5m is older than one of 1m may be.
    of_age = verdicts(found(worker, max_state_age_s=0))
    for check in ("fresh", "output stream"):
        assert [of_age[f"{check}{each}"] for each in ("", " 2m", " 5m")] == ["FAIL", "ok", "ok"]
    key = f"{INTERNAL_PREFIX}:window.2m:BTCUSDT"
    packed: Any = client.lindex(key, -3)
    at_ms, close = struct.unpack("<qd", packed)
    changed: Any = struct.pack("<qd", at_ms, close * 1.01)
    client.lset(key, -3, changed)
    client.hset("quantum:marketstate.5m:ETHUSDT", "sigma", "1.00000000")
    failed = {one.subject: one for one in found(worker) if one.verdict == "FAIL"}
    assert {*failed} == {"BTCUSDT 2m", "ETHUSDT 5m", "recomputed 2m", "complete 5m"}
    assert "but its window gives" in failed["BTCUSDT 2m"].text
    assert (failed["BTCUSDT 2m"].checked, failed["recomputed 2m"].checked) == ("recomputed",) * 2
