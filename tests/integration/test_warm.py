"""`marketstate warm`: windows of long intervals from files, as if the candles had been there."""

from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import longer_interval, resampled
from marketstate.worker.commands.warm import command
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.intervals import (
    INTERVALS,
    SUFFIXES,
    kept_by_interval,
    published_by_interval,
)
from tests.support.partitioned import feed_by_symbol
from tests.support.replaying import run, write_csv
from tests.support.small_workers import small_worker, work_off
from tests.support.stepped_partitions import partition_workers, work_all_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INTERNAL_PREFIX, everything, expire_leases, feed

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
CANDLES = made_candles(SYMBOLS, 900)
STOP, GO_ON = 700 * len(SYMBOLS), 800 * len(SYMBOLS)
SEVERAL: dict[str, Any] = {"intervals": INTERVALS, "start": "replay"}


def files_of(folder: Path, candles: list[Candle]) -> Path:
    made = folder / "files"
    made.mkdir(exist_ok=True)
    for symbol in SYMBOLS:
        write_csv(made, symbol, candles)
    return made


def warm(
    server: EmbeddedRedis, folder: Path, files: Path, *options: str, **settings: object
) -> tuple[int, str]:
    given = {"intervals": INTERVALS} | settings
    return run(server, folder, "warm", files, *options, **given)


def stopped(client: redis.Redis, *workers: SteppedWorker) -> None:
    for worker in workers:
        worker.shards.release()
    expire_leases(client)


def windows_of(client: redis.Redis) -> dict[str, list[bytes]]:
    kept = kept_by_interval(client)
    return {key: value for key, value in kept.items() if ":window" in key}


def test_it_goes_on_as_if_all_candles_had_been_there(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: the group had 1m alone, and longer intervals are added; the windows are those of a group
    that has seen everything, and so is what follows.
    """
    alone = small_worker(server, **SEVERAL)
    feed(client, CANDLES[:GO_ON])
    work_off(alone)
    before = published_by_interval(client)
    feed(client, CANDLES[GO_ON:])
    work_off(alone)
    wanted, windows = published_by_interval(client), windows_of(client)
    client.flushall()

    first = small_worker(server, start="replay")
    feed(client, CANDLES[STOP:GO_ON])
    work_off(first)
    stopped(client, first)
    files = files_of(tmp_path, CANDLES[: GO_ON - 5 * len(SYMBOLS)])
    untouched = everything(client)
    code, said = warm(server, tmp_path, files)
    assert (code, said.splitlines()[-1]) == (0, "nothing was written; --yes writes it"), said
    assert everything(client) == untouched
    code, said = warm(server, tmp_path, files, "--yes")
    assert code == 0, said
    told = "1m unchanged: it is full, with 12 closes; 3m 12 closes up to 2025-05-05 04:59:59 UTC; "
    assert said.splitlines()[0].startswith(f"BTCUSDT: {told}")
    once = everything(client)
    code, said = warm(server, tmp_path, files, "--yes")
    assert (code, "1h unchanged: it is full, with 12 closes" in said) == (0, True), said
    assert everything(client) == once

    worker = small_worker(server, "next", **SEVERAL)
    feed(client, CANDLES[GO_ON:])
    work_off(worker)
    assert windows_of(client) == windows
    found = published_by_interval(client)
    for suffix in SUFFIXES[1:]:
        for symbol in SYMBOLS:
            new = wanted[suffix][symbol][len(before[suffix].get(symbol, [])) :]
            assert found[suffix].get(symbol, []) == new


def test_a_window_gets_older_closes_in_front_and_keeps_its_own(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES[STOP:GO_ON])
    work_off(worker)
    stopped(client, worker)
    own = windows_of(client)
    other = [one.__class__(**_changed(one)) for one in CANDLES[:GO_ON]]
    code, said = warm(server, tmp_path, files_of(tmp_path, other), "--yes")
    assert code == 0, said
    assert "1h 10 closes up to 2025-05-05 02:59:59 UTC" in said
    assert " UTC in front of its 2" in said
    for key, window in windows_of(client).items():
        assert len(window) == 12
        assert window[-len(own[key]) :] == own[key]


def _changed(one: Candle) -> dict[str, Any]:
    names = ("symbol", "interval", "volume", "open_time", "close_time")
    prices = dict.fromkeys(("open", "high", "low", "close"), one.close * 2)
    return {name: getattr(one, name) for name in names} | prices


def test_files_of_a_longer_interval_fill_what_can_be_made_of_them(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Before there is a group, and without windows of the candle interval."""
    longer = longer_interval("15m", "1m")
    files = tmp_path / "files"
    files.mkdir()
    for symbol in SYMBOLS:
        closes = [(one.close_time, one.close) for one in CANDLES if one.symbol == symbol]
        rows = [f"{ms},{close}" for ms, close in resampled(longer, closes)]
        (files / f"{symbol}-15m.csv").write_text("\n".join(["close_time,close", *rows, ""]))
    code, said = warm(server, tmp_path, files, "--yes")
    assert code == 0, said
    assert "BTCUSDT: 1m unchanged: the files have no close for it that can be used; 3m unc" in said
    assert {key.rpartition(":")[0][-3:] for key in windows_of(client)} == {"15m", "30m", ".1h"}
    worker = small_worker(server, **SEVERAL)
    loaded = {symbol: memory.longer for _, symbol, memory in worker.shards.remembered()}
    assert {*loaded} == {*SYMBOLS}
    assert {name: len(memory.window) for name, memory in loaded["BTCUSDT"].items()} == {
        "15m": 12,
        "30m": 12,
        "1h": 12,
    }
    more = made_candles(SYMBOLS, 960)[len(CANDLES) :]
    feed(client, more)
    work_off(worker)
    published = published_by_interval(client)
    assert {suffix for suffix in SUFFIXES if published[suffix]} >= {".15m", ".30m", ".1h"}


def test_what_is_still_to_come_from_the_stream_is_left_to_it(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5: or these candles would be late, and their states would never be published."""
    worker = small_worker(server, start="replay")
    feed(client, CANDLES[STOP : STOP + 30])
    work_off(worker)
    feed(client, CANDLES[STOP + 30 : STOP + 60])
    assert len(worker.fetch()) == 30, "taken, and not finished"
    stopped(client, worker)
    feed(client, CANDLES[STOP + 60 :])
    code, said = warm(server, tmp_path, files_of(tmp_path, CANDLES), "--yes")
    assert code == 0, said
    last = small_worker(server, "last", **SEVERAL)
    work_off(last)
    found = published_by_interval(client)
    assert len(found[".5m"]["BTCUSDT"]) == len(CANDLES[STOP + 30 :]) // len(SYMBOLS) // 5
    counted: Any = client.hgetall(f"{INTERNAL_PREFIX}:counters")
    assert b"late" not in counted


def test_partitions_are_filled_each_with_its_symbols(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    code, said = warm(server, tmp_path, files_of(tmp_path, CANDLES[:GO_ON]), "--yes", partitions=2)
    assert code == 0, said
    workers = partition_workers(server, **SEVERAL)
    feed_by_symbol(client, CANDLES[GO_ON:], 2)
    work_all_off(workers)
    for worker in workers:
        for each in worker.settings.each_interval[:-1]:
            assert client.xlen(each.keys.output_stream) > 0
    hours: Any = client.keys(f"{INTERNAL_PREFIX}:{{p0*}}:window.1h:*")
    assert {key.rpartition(b":")[2].decode() for key in hours} == {*SYMBOLS}


def test_workers_must_be_stopped(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G4."""
    files = files_of(tmp_path, CANDLES[:GO_ON])
    small_worker(server, **SEVERAL)
    code, said = warm(server, tmp_path, files, "--yes")
    assert (code, "workers one are live; stop them first" in said) == (3, True), said
    client.delete(f"{INTERNAL_PREFIX}:members")
    code, said = warm(server, tmp_path, files, "--yes")
    assert (code, "16 shards are still leased" in said) == (3, True), said


def test_what_a_worker_of_the_group_would_refuse_is_refused(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Windows would be in shards where no worker looks for them."""
    stopped(client, small_worker(server, **SEVERAL))
    before = everything(client)
    code, said = warm(server, tmp_path, files_of(tmp_path, CANDLES), "--yes", shards=7)
    assert (code, "MARKETSTATE_SHARDS is 7, but the group" in said) == (2, True), said
    assert everything(client) == before


@pytest.mark.parametrize(
    "meanwhile",
    [
        ("HSET", f"{INTERNAL_PREFIX}:members", "new", f"{2**50}:1000:anybody"),
        ("RPUSH", f"{INTERNAL_PREFIX}:window.1h:BTCUSDT", "of another `warm`"),
    ],
)
def test_what_joins_or_writes_meanwhile_keeps_its_windows(
    meanwhile: tuple[str, ...],
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G4."""
    files = files_of(tmp_path, CANDLES[:GO_ON])
    read: Any = command._closes_at
    execute: Any = client.execute_command

    def read_then(*arguments: Any) -> Any:
        found = read(*arguments)
        if arguments[-1].endswith(":window.1h:BTCUSDT"):
            execute(*meanwhile)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(command, "_closes_at", read_then)
        code, said = warm(server, tmp_path, files, "--yes")
    assert (code, "a worker has joined the group meanwhile" in said) == (3, True), said
    assert client.keys() == [meanwhile[1].encode()]


def test_a_worker_that_joins_while_the_files_are_read_keeps_its_windows(
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G4: what is watched from then on does not change any more."""
    joins: Any = client.hset

    def look(*_arguments: Any) -> None:
        joins(f"{INTERNAL_PREFIX}:members", "new", f"{2**50}:1000:anybody")

    with monkeypatch.context() as patched:
        patched.setattr(command, "_refuse_too_many", look)
        code, said = warm(server, tmp_path, files_of(tmp_path, CANDLES[:GO_ON]), "--yes")
    assert (code, "workers new are live; stop them first" in said) == (3, True), said
    assert not windows_of(client)


def test_a_damaged_window_is_named_and_left_alone(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G9."""
    key = f"{INTERNAL_PREFIX}:window.5m:BTCUSDT"
    client.set(key, "of another program")
    code, said = warm(server, tmp_path, files_of(tmp_path, CANDLES), "--yes")
    assert code == 0
    assert f"BTCUSDT: unchanged: {key} cannot be used: WRONGTYPE" in said
    assert not client.exists(f"{INTERNAL_PREFIX}:window:BTCUSDT")
    assert client.llen(f"{INTERNAL_PREFIX}:window:ETHUSDT") == 12


def test_files_of_which_nothing_can_be_made_are_refused(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    path = tmp_path / "BTCUSDT-2h.csv"
    path.write_text(f"close_time,close\n{CANDLES[0].close_time},1.5\n")
    code, said = warm(server, tmp_path, path)
    assert code == 2
    assert "the files have candles of 2h, of which none of the intervals 1m, 3m, 5m" in said


def test_symbols_that_the_group_does_not_take_get_no_window(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Not wanted, set aside, or too many."""
    files = files_of(tmp_path, CANDLES[:GO_ON])
    code, said = warm(server, tmp_path, files, "--yes", max_symbols=2)
    assert (code, "the files 3 more; MARKETSTATE_MAX_SYMBOLS allows 2" in said) == (2, True), said
    assert client.keys() == []
    client.hset(f"{INTERNAL_PREFIX}:quarantine", "ETHUSDT", "damaged")
    code, said = warm(server, tmp_path, files, "--yes", symbols="BTCUSDT,ETHUSDT")
    assert (code, "ETHUSDT: unchanged: it is set aside: damaged" in said) == (0, True), said
    assert {key.rpartition(":")[2] for key in windows_of(client)} == {"BTCUSDT"}


def test_a_commit_that_broke_off_is_completed_first(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G3: what is left of it are commands for these windows."""
    client.hset(f"{INTERNAL_PREFIX}:commits", "shard-03", "0123456789abcdef:begun:RPUSH: no\n\x90")
    code, said = warm(server, tmp_path, files_of(tmp_path, CANDLES[:GO_ON]), "--yes")
    assert (code, "shard-03" in said) == (3, True), said
    assert not windows_of(client)


def test_closes_before_too_long_a_gap_stay_out(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """As they do of a window that starts over."""
    gap = CANDLES[: 300 * len(SYMBOLS)] + CANDLES[600 * len(SYMBOLS) : 615 * len(SYMBOLS)]
    code, said = warm(server, tmp_path, files_of(tmp_path, gap), "--yes")
    assert code == 0, said
    assert client.llen(f"{INTERNAL_PREFIX}:window:BTCUSDT") == 12
    assert client.llen(f"{INTERNAL_PREFIX}:window.5m:BTCUSDT") == 3
