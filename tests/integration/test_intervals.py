"""Several intervals in one group: from the same candles, in the same commit, equally fenced."""

import struct
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.longer import longer_interval, resampled
from marketstate.schemas.market_state import decode_record
from marketstate.schemas.reader import StateReader, latest_state
from marketstate.worker.errors import (
    ConfigurationMismatch,
    LeaseLost,
    SymbolsDamaged,
    WrongKeyType,
)
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.intervals import (
    INTERVALS,
    LONGER,
    SUFFIXES,
    kept_by_interval,
    published_by_interval,
)
from tests.support.partitioned import feed_by_symbol
from tests.support.replaying import run, small
from tests.support.small_workers import aside, small_worker, work_off
from tests.support.stepped_partitions import partition_workers, work_all_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    DEAD,
    INPUT,
    INTERNAL_PREFIX,
    OUTPUT,
    counters,
    dead_letters,
    everything,
    expire_leases,
    feed,
    group_info,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
CANDLES = made_candles(SYMBOLS, 700)
SEVERAL: dict[str, Any] = {"intervals": INTERVALS, "start": "replay"}
BTC_SHARD = shard_of("BTCUSDT", 16)


def undisturbed(server: EmbeddedRedis, client: redis.Redis) -> tuple[Any, ...]:
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES)
    work_off(worker)
    found = what_is_left(client)
    client.flushall()
    return found


def what_is_left(client: redis.Redis) -> tuple[Any, ...]:
    return published_by_interval(client), kept_by_interval(client), counters(client)


def test_every_interval_publishes_what_a_group_of_its_own_does(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2: fed with candles of that interval, without a gap; and their keys are apart."""
    together, kept, counted = undisturbed(server, client)
    for name, suffix in zip(("1m", *LONGER), SUFFIXES, strict=True):
        candles = [
            Candle(symbol=symbol, interval=name, close=close, close_time=time_ms)
            for symbol in SYMBOLS
            for time_ms, close in _closes_of(symbol, name)
        ]
        worker = small_worker(server, candle_interval=name, start="replay", backfill_keys="none")
        feed(client, candles)
        work_off(worker)
        assert together[suffix] == published_by_interval(client)[""], name
        for symbol in SYMBOLS:
            window = client.lrange(f"{INTERNAL_PREFIX}:window:{symbol}", 0, -1)
            assert kept[f"{INTERNAL_PREFIX}:window{suffix}:{symbol}"] == window
        assert counted[f"emitted{suffix}"] == counters(client)["emitted"]
        client.flushall()
    symbols_found = [key for key in kept if fnmatchcase(key, "quantum:marketstate:*")]
    assert sorted(symbols_found) == [f"quantum:marketstate:{symbol}" for symbol in SYMBOLS]


def _closes_of(symbol: str, name: str) -> list[tuple[int, float]]:
    closes = [(one.close_time, one.close) for one in CANDLES if one.symbol == symbol]
    return closes if name == "1m" else list(resampled(longer_interval(name, "1m"), closes))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dies", ["before the commit", "after the commit"])
def test_workers_that_die_between_any_two_commits_change_no_byte(
    workers: int, dies: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2, G3, G6: the candle in progress of each interval survives, although nothing stores it."""
    expected = undisturbed(server, client)
    feed(client, CANDLES)
    started = 0
    living: list[SteppedWorker] = []
    while counters(client).get("applied", 0) < len(CANDLES):
        while len(living) < workers:
            started += 1
            living.append(small_worker(server, f"worker-{started}", batch=31, **SEVERAL))
            for each in living:
                each.keep()
        worker = living.pop(0)
        readings = worker.fetch()
        if dies == "after the commit" or started % 2:
            worker.apply(worker.advance(readings))
        else:
            worker.advance(readings)
        name = worker.settings.worker_id
        client.hdel(f"{INTERNAL_PREFIX}:members", name)
        for shard in list(worker.shards):
            client.delete(worker.keys.lease(shard))
    assert started > 20
    assert what_is_left(client) == expected
    assert group_info(client)["pending"] == 0


def test_a_commit_without_the_lease_changes_no_interval(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4."""
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES[:200])
    work_off(worker)
    feed(client, CANDLES[200:])
    changes = worker.advance(worker.fetch())
    assert set(changes.longer) == set(LONGER)
    client.set(worker.keys.lease(BTC_SHARD), "other:99", px=10_000)
    before = everything(client)
    with pytest.raises(LeaseLost):
        worker.apply(changes)
    assert everything(client) == before


@pytest.mark.parametrize(
    "key",
    [
        f"{INTERNAL_PREFIX}:window.5m:BTCUSDT",
        "quantum:marketstate.5m:BTCUSDT",
        "quantum:marketstate.5m-record:BTCUSDT",
    ],
)
@pytest.mark.parametrize("when", ["commit", "load"])
def test_a_damaged_key_of_an_interval_costs_its_symbol_alone(
    key: str, when: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G9: all intervals of that symbol, until it is repaired; no other symbol."""
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES[:300])
    work_off(worker)
    client.delete(key)
    client.geoadd(key, (1.0, 1.0, "somewhere"))
    if when == "load":
        expire_leases(client)
        worker = small_worker(server, "next", **SEVERAL)
    feed(client, CANDLES[300:])
    work_off(worker)
    assert list(aside(client)) == [b"BTCUSDT"]
    assert key in aside(client)[b"BTCUSDT"].decode()
    assert {letter[b"symbol"] for letter in dead_letters(client) if b"symbol" in letter} <= {
        b"BTCUSDT"
    }
    assert counters(client)["applied"] == len(CANDLES) - counters(client)["quarantined"]
    newest = decode_record(client.get("quantum:marketstate.5m-record:ETHUSDT"))  # type: ignore[arg-type]
    assert newest.close_time_ms == _closes_of("ETHUSDT", "5m")[-1][0]


@pytest.mark.parametrize("key", [f"{OUTPUT}.5m", f"{INTERNAL_PREFIX}:shard.5m:{BTC_SHARD:02d}"])
def test_a_key_that_all_symbols_of_an_interval_need_is_checked_before_the_first_write(
    key: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3."""
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES)
    changes = worker.advance(worker.fetch())
    client.set(key, "of another program")
    before = everything(client)
    with pytest.raises(WrongKeyType, match=f"the key {key} holds a string"):
        worker.apply(changes)
    assert everything(client) == before


@pytest.mark.usefixtures("client")
def test_workers_of_a_group_have_the_same_intervals(server: EmbeddedRedis) -> None:
    """G2."""
    small_worker(server, "one", **SEVERAL)
    with pytest.raises(ConfigurationMismatch, match="intervals=1m,3m,5m,15m,30m,1h, but here with"):
        small_worker(server, "two", start="replay")
    with pytest.raises(ConfigurationMismatch, match="but here with intervals=1m,5m"):
        small_worker(server, "three", start="replay", intervals="1m,5m")


def test_an_interval_can_be_taken_out_and_added_again_while_no_worker_runs(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The others go on; the window of the one that comes back has a gap, which is counted."""
    first = small_worker(server, "one", start="replay", intervals="1m,5m")
    feed(client, CANDLES[:300])
    work_off(first)
    for name, intervals, until in (("two", "", 360), ("three", "1m,5m", 2_100)):
        first.shards.release()
        first = small_worker(server, name, start="replay", intervals=intervals)
        feed(client, CANDLES[300 if name == "two" else 360 : until])
        work_off(first)
    assert counters(client)["gap.5m"] == len(SYMBOLS)
    for symbol in SYMBOLS:
        packed: Any = client.lrange(f"{INTERNAL_PREFIX}:window.5m:{symbol}", 0, -1)
        window = [struct.unpack("<qd", one) for one in packed]
        assert window == _closes_of(symbol, "5m")[-12:]
    assert client.hget(f"{INTERNAL_PREFIX}:meta", "interval:5m") == b"1"


def test_a_symbol_that_retires_leaves_nothing_of_any_interval(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES)
    work_off(worker)
    _retire(worker, "BTCUSDT")
    windows: Any = client.keys(f"{INTERNAL_PREFIX}:window*")
    assert len(windows) == 2 * len(SUFFIXES)
    assert not any(key.endswith(b":BTCUSDT") for key in windows)
    marks: Any = client.keys(f"{INTERNAL_PREFIX}:shard*")
    assert not any(client.hexists(key, "BTCUSDT") for key in marks)


def test_a_symbol_that_retires_while_an_interval_is_out_starts_over_when_it_is_back(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2: what was left behind of the interval does not get into its next window."""
    small: dict[str, Any] = {"start": "replay", "retire_after": "150m"}
    first = small_worker(server, "one", intervals="1m,5m", **small)
    feed(client, CANDLES[:300])
    work_off(first)
    first.shards.release()
    second = small_worker(server, "two", **small)
    _retire(second, *SYMBOLS)
    assert not client.keys(f"{INTERNAL_PREFIX}:window:*")
    assert client.keys(f"{INTERNAL_PREFIX}:window.5m:*")
    second.shards.release()
    third = small_worker(server, "three", intervals="1m,5m", **small)
    feed(client, CANDLES[750:780])
    work_off(third)
    for symbol in SYMBOLS:
        packed: Any = client.lrange(f"{INTERNAL_PREFIX}:window.5m:{symbol}", 0, -1)
        window = [struct.unpack("<qd", one) for one in packed]
        assert window == _closes_of(symbol, "5m")[50:52]


def _retire(worker: SteppedWorker, *symbols: str) -> None:
    for _, symbol, memory in worker.shards.remembered():
        if symbol in symbols:
            memory.seen_s = float("-inf")
    worker.retirement._next_look_s = 0.0
    assert worker.work_on_a_batch()


def test_a_symbol_with_a_longer_window_alone_is_retired_by_the_time_of_its_last_close(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: files have filled it, or the shorter window is lost: it stays warm."""
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES[: 8 * len(SYMBOLS)])
    work_off(worker)
    worker.shards.release()
    client.delete(f"{INTERNAL_PREFIX}:window:BTCUSDT")
    worker = small_worker(server, "next", **SEVERAL)
    for _, _, memory in worker.shards.remembered():
        memory.seen_s = float("-inf")
    [known] = [one for _, name, one in worker.shards.remembered() if name == "BTCUSDT"]
    assert len(known.window) == known.mark.close_time_ms == 0
    last_ms = max(one.window.last_close_time_ms for one in known.longer.values())
    retire_after_ms = int(worker.settings.retire_after_ms)
    for now_ms, retires in (
        (last_ms + retire_after_ms - 1, False),
        (last_ms + retire_after_ms, True),
    ):
        worker.retirement._next_look_s = 0.0
        retired = worker.retirement.changes(now_ms).retired
        assert ("BTCUSDT" in retired.get(BTC_SHARD, [])) == retires


def test_a_longer_window_goes_on_after_the_other_keys_of_its_symbol_were_deleted(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G2: as it does for the worker that has it in memory."""
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES[:600])
    work_off(worker)
    worker.shards.release()
    client.delete(f"{INTERNAL_PREFIX}:window:BTCUSDT")
    client.hdel(worker.keys.marks(BTC_SHARD), "BTCUSDT")
    worker = small_worker(server, "next", **SEVERAL)
    feed(client, CANDLES[600:])
    work_off(worker)
    window: Any = client.lrange(f"{INTERNAL_PREFIX}:window.5m:BTCUSDT", 0, -1)
    found = [struct.unpack("<qd", one) for one in window]
    assert found == _closes_of("BTCUSDT", "5m")[-12:]
    assert worker.shards.memory(BTC_SHARD, "BTCUSDT").longer["5m"].window.closes().tolist() == [  # type: ignore[union-attr]
        close for _, close in found
    ]


def test_purge_finds_the_keys_of_symbols_that_retired_while_an_interval_was_out(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    small_worker(server, "before", start="replay").shards.release()
    first = small_worker(server, "one", start="replay", intervals="1m,5m")
    feed(client, CANDLES)
    work_off(first)
    first.shards.release()
    second = small_worker(server, "two", start="replay")
    _retire(second, "BTCUSDT")
    second.shards.release()
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes", **small(tmp_path))
    assert code == 0, said
    assert "the windows of 3 symbols" in said
    assert client.keys() == [INPUT.encode()]


def test_purge_finds_the_keys_of_every_interval_the_group_has_had(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES)
    work_off(worker)
    worker.shards.release()
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes", **small(tmp_path))
    assert code == 0, said
    assert "and those of 15m, 1h, 30m, 3m, 5m" in said
    assert client.keys() == [INPUT.encode()]


def test_a_recording_of_a_longer_interval_is_compared_with_its_own_stream(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: as strictly as those of the candle interval."""
    worker = small_worker(server, **SEVERAL)
    feed(client, CANDLES)
    work_off(worker)
    states = tmp_path / "states.jsonl.gz"
    several = small(tmp_path) | {"intervals": INTERVALS}
    record = ("record", states, "--stream", "output", "--interval", "5m")
    code, said = run(server, tmp_path, *record, **several)
    assert code == 0, said
    compare = ("verify", "--against", states)
    code, said = run(server, tmp_path, *compare, **several)
    count = client.xlen(f"{OUTPUT}.5m")
    assert (code, f"ok   against: {count} of {count} states of 5m are the same" in said) == (
        0,
        True,
    ), said
    entries: Any = client.xrange(f"{OUTPUT}.5m", count=10)
    client.xdel(f"{OUTPUT}.5m", entries[9][0])
    code, said = run(server, tmp_path, *compare, **several)
    assert code == 4, said
    assert f", line 11) that {OUTPUT}.5m lacks" in said, said
    code, said = run(server, tmp_path, *compare, **several | {"intervals": "1m,15m"})
    assert code == 2, said
    assert "has states of 5m, and MARKETSTATE_INTERVALS has 1m, 15m" in said, said


def test_partitions_have_every_interval(server: EmbeddedRedis, client: redis.Redis) -> None:
    workers = [
        small_worker(server, partitions=2, partition=number, **SEVERAL) for number in range(2)
    ]
    feed_by_symbol(client, CANDLES, 2)
    for worker in workers:
        work_off(worker)
    streams = {key.decode() for key in client.keys("quantum:stream:marketstate.5m*")}  # type: ignore[union-attr]
    assert streams == {"quantum:stream:marketstate.5m:{p00}", "quantum:stream:marketstate.5m:{p01}"}
    hashes = {key.decode() for key in client.keys("quantum:marketstate.5m:*")}  # type: ignore[union-attr]
    assert {key.rpartition(":")[2] for key in hashes} == {*SYMBOLS}
    assert all(key.startswith("quantum:marketstate.5m:{p0") for key in hashes)
    internal: Any = client.keys(f"{INTERNAL_PREFIX}*")
    assert all(b":{p0" in key for key in internal)
    assert client.exists(DEAD, f"{OUTPUT}.5m") == 0


@pytest.mark.parametrize("partitions", [None, 2])
def test_readers_get_the_states_of_the_interval_that_they_name(
    partitions: int | None, server: EmbeddedRedis, client: redis.Redis
) -> None:
    if partitions:
        workers = partition_workers(server, partitions=partitions, **SEVERAL)
        feed_by_symbol(client, CANDLES, partitions)
    else:
        workers = [small_worker(server, **SEVERAL)]
        feed(client, CANDLES)
    work_all_off(workers)
    for name in (None, *LONGER):
        reader = StateReader(
            client,
            group="sizing",
            consumer="one",
            start="0",
            partitions=partitions,
            interval=name,
        )
        entries = sum(
            client.xlen(each.keys.output_stream)
            for worker in workers
            for each in worker.settings.each_interval
            if each.longer_interval == (name or "")
        )
        found = list(islice(reader, entries))
        assert {state.interval for state in found} == {name or "1m"}
        for symbol in SYMBOLS:
            newest = [state for state in found if state.symbol == symbol][-1]
            assert latest_state(client, symbol, partitions=partitions, interval=name) == newest


@pytest.mark.parametrize("regime_changes", [False, True])
def test_by_the_wall_clock_an_interval_publishes_its_newest_close(
    regime_changes: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Also later, if it was not due when the close came."""
    by_clock = {"rate_clock": "wall", "publish_interval": 1, "intervals": "1m,5m"}
    settings = SEVERAL | by_clock | {"emit_on_regime_change": regime_changes}
    worker = small_worker(server, **settings)
    feed(client, CANDLES)
    work_off(worker)
    last = {symbol: _closes_of(symbol, "5m")[-1][0] for symbol in SYMBOLS}
    for _, symbol, memory in worker.shards.remembered():
        mark = memory.longer["5m"].mark
        memory.longer["5m"].mark = mark._replace(
            close_time_ms=mark.close_time_ms - 1, published_ms=1
        )
        memory.mark = memory.mark._replace(published_ms=worker.intake.now_ms())
        assert memory.longer["5m"].window.last_close_time_ms == last[symbol]
    changes = worker.overdue()
    assert {(one.symbol, one.interval) for one in changes.records} == {
        (symbol, "5m") for symbol in SYMBOLS
    }
    damaged = "quantum:marketstate.5m:ETHUSDT"
    client.delete(damaged)
    client.set(damaged, "of another program")
    with pytest.raises(SymbolsDamaged) as raised:
        worker.apply(changes)
    worker.shards.set_aside(changes, raised.value.reasons)
    assert list(aside(client)) == [b"ETHUSDT"]
    worker.apply(worker.overdue())
    assert worker.overdue().records == []
