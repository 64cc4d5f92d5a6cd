"""`marketstate history`: the bytes that a group publishes, from the same files, without Redis."""

import json
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis

from marketstate.schemas.market_state import decode_record
from marketstate.schemas.recording import RecordedEntry, encode_entry, encode_header
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.fault.fuzz.entries import odd_entry
from tests.support.candles import MINUTE_MS, START_MS, as_envelope, candle
from tests.support.histories import (
    messy_entries,
    of_interval,
    read_table,
    records_in,
    strings_of,
    write_recording,
)
from tests.support.replaying import (
    SMALL,
    SYMBOLS,
    add_raw,
    candle_folder,
    run,
    small,
    states_of,
)
from tests.support.small_workers import small_worker, work_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INPUT, OUTPUT, published

pytestmark = pytest.mark.one_redis_version
COUNT = 60
EVERY_CLOSE: dict[str, Any] = {"publish_interval": 1}
ON_CHANGE: dict[str, Any] = {"publish_interval": 600, "emit_on_regime_change": "true"}


def replayed(
    server: EmbeddedRedis,
    client: redis.Redis,
    folder: Path,
    name: str,
    *command: object,
    **settings: Any,
) -> dict[bytes, list[bytes]]:
    """What a group publishes for these files."""
    feeding = ("replay", *command, "--namespace", name, "--workers", "2")
    code, log = run(server, folder, *feeding, **settings)
    assert code == 0, log
    return states_of(client, name)


def history(
    server: EmbeddedRedis, folder: Path, out: str, *command: object, **settings: Any
) -> tuple[Path, str]:
    """The file, and what was said."""
    path = folder / out
    # Nothing listens there.
    nowhere = {"redis_port": 1, **settings}
    processes = () if "--processes" in command else ("--processes", 1)
    code, log = run(server, folder, "history", *command, *processes, "--out", path, **nowhere)
    assert code == 0, log
    assert [each.name for each in folder.iterdir() if each.name.endswith(".parts")] == []
    return path, log


def test_candle_files_give_what_a_group_publishes_in_every_format_and_in_any_number_of_processes(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2; and the same bytes of the file, however many processes."""
    folder = candle_folder(tmp_path, COUNT)
    expected = replayed(server, client, tmp_path, "all", folder, **EVERY_CLOSE)
    assert {len(each) for each in expected.values()} == {COUNT - 8}
    for out in ("a.parquet", "a.arrow", "a.jsonl.gz"):
        one, _ = history(server, tmp_path, out, folder, "--every-close", "--processes", "1")
        assert records_in(one) == expected
        two, _ = history(server, tmp_path, f"2{out}", folder, "--every-close", "--processes", "2")
        assert two.read_bytes() == one.read_bytes()


def test_a_recording_gives_what_a_group_publishes_also_where_it_is_no_candle_late_or_twice(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2 with gaps, windows that start over, duplicates, late candles, dead letters, another
    interval, updates, a bad line, and states at changes of the regime.
    """
    entries = messy_entries(SYMBOLS, COUNT)
    path = write_recording(tmp_path / "a.jsonl.gz", entries, bad_line="no entry")
    refused = (path, "--out", tmp_path / "a.parquet", "--processes", "1")
    code, log = run(server, tmp_path, "history", *refused)
    line = 1 + (len(entries) + 1) // 2
    assert (code, f"{path}, line {line}: not an entry" in log) == (2, True), log
    for name, settings in {"every": EVERY_CLOSE, "change": ON_CHANGE}.items():
        expected = replayed(server, client, tmp_path, name, path, "--skip-bad", **settings)
        found = {}
        for processes in (1, 2, 3):
            options = (path, "--skip-bad", "--processes", processes)
            out = f"{name}{processes}.parquet"
            found[out], log = history(server, tmp_path, out, *options, **settings)
            assert records_in(found[out]) == expected
            assert "lines or entries left out: 1\n" in log
            assert "dead letters" in log
        assert len({each.read_bytes() for each in found.values()}) == 1
    every = b"".join(record for records in expected.values() for record in records)
    assert b'"reason":"regime_change"' in every
    assert b'"missing":2' in every


def test_entries_of_every_kind_right_or_wrong_end_as_in_a_group(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, G5: drawn by the generator of `scripts/fuzz`, between candles of its symbols."""
    rng = Random(11)
    entries = [
        RecordedEntry(f"{START_MS + MINUTE_MS * (minute + 1)}-{i}", strings)
        for minute in range(90)
        for i, strings in enumerate(
            [odd_entry(rng, minute) for _ in range(20)]
            + [
                strings_of(as_envelope(candle(symbol, minute, 100 + rng.random())))
                for symbol in (*SYMBOLS, "BTCUSDT")
            ]
        )
    ]
    path = tmp_path / "odd.jsonl"
    lines = [encode_header("s"), *map(encode_entry, entries)]
    path.write_bytes(b"".join(lines))
    feeding = ("replay", path, "--namespace", "odd", "--workers", 1, "--keep-ids")
    code, log = run(server, tmp_path, *feeding, "--skip-bad", **EVERY_CLOSE)
    assert code == 0, log
    expected, counted = states_of(client, "odd"), counts_in(log, "the group so far: ")
    assert sum(map(len, expected.values())) > 200
    assert int(counted["dead"]) > 200
    for processes in (1, 3):
        out = f"{processes}.jsonl.gz"
        options = (path, "--skip-bad", "--processes", processes)
        found, log = history(server, tmp_path, out, *options, **EVERY_CLOSE)
        assert records_in(found) == expected
        assert counts_in(log, "theta theta: ") == counted


def counts_in(log: str, start: str) -> dict[str, str]:
    (line,) = [each for each in log.splitlines() if each.startswith(start)]
    counts = [each.rsplit(" ", 1) for each in line.removeprefix(start).split(", ")]
    return {name: number for name, number in counts}  # noqa: C416, mypy needs the pairs


def test_what_became_of_the_candles_is_counted_as_by_a_group(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    """G5; in any number of processes."""
    path = write_recording(tmp_path / "a.jsonl.gz", messy_entries(SYMBOLS, COUNT))
    feeding = ("replay", path, "--namespace", "counted", "--workers", "1")
    code, log = run(server, tmp_path, *feeding)
    assert code == 0
    expected = counts_in(log, "the group so far: ")
    for processes in (1, 3):
        out = f"{processes}.parquet"
        _, log = history(server, tmp_path, out, path, "--processes", processes)
        assert counts_in(log, "theta theta: ") == expected


def test_each_theta_gives_what_a_group_with_it_publishes(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, COUNT)
    hot = tmp_path / "hot.json"
    hot.write_text(json.dumps(SMALL | {"regime": {"window": 6, "vr_k": 2, "softmax_temp": 0.1}}))
    usual = small(tmp_path)["theta_file"]
    options = (folder, "--theta", hot, "--theta", usual, "--every-close")
    path, log = history(server, tmp_path, "a.parquet", *options)
    for name, file in {"hot": hot, "theta": usual}.items():
        settings = EVERY_CLOSE | {"theta_file": file}
        expected = replayed(server, client, tmp_path, name, folder, **settings)
        assert records_in(path, name) == expected
        assert f"theta {name}: applied 180, emitted 156\n" in log
    assert records_in(path, "hot") != records_in(path, "theta")


def test_intervals_give_what_a_group_with_them_publishes_with_each_theta(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2, for each interval, with gaps; also if only one of them is asked for."""
    names = ("1m", "3m", "5m", "15m")
    path = write_recording(tmp_path / "a.jsonl.gz", messy_entries(SYMBOLS, 240))
    hot = tmp_path / "hot.json"
    hot.write_text(json.dumps(SMALL | {"regime": {"window": 6, "vr_k": 2, "softmax_temp": 0.1}}))
    thetas = {"hot": hot, "theta": small(tmp_path)["theta_file"]}
    settings: dict[str, Any] = {"publish_interval": 600, "emit_on_regime_change": True}
    options = [path, *(word for file in thetas.values() for word in ("--theta", file))]
    asked = ("--interval", "15m,3m", "--interval", "5m,1m")
    both, log = history(server, tmp_path, "both.parquet", *options, *asked, **settings)
    settings["intervals"] = ",".join(names)
    again, _ = history(server, tmp_path, "set.parquet", *options, "--processes", 3, **settings)
    assert again.read_bytes() == both.read_bytes()
    few, few_log = history(
        server, tmp_path, "few.jsonl.gz", path, "--interval", "5m", "--theta", hot, **settings
    )
    for name, file in thetas.items():
        feeding = ("replay", path, "--namespace", name, "--workers", 2)
        code, said = run(server, tmp_path, *feeding, **settings, theta_file=file)
        assert code == 0, said
        counted = counts_in(said, "the group so far: ")
        assert counts_in(log, f"theta {name}: ") == counted
        for interval in names:
            expected = states_of(client, name, interval if interval != "1m" else "")
            assert {len(each) > 5 for each in expected.values()} == {True}, interval
            assert of_interval(records_in(both, name), interval) == expected
            if (name, interval) == ("hot", "5m"):
                assert records_in(few) == expected
                assert counts_in(few_log, "theta hot: ") == {
                    counter: count
                    for counter, count in counted.items()
                    if counter != "emitted" and not counter.endswith((".3m", ".15m"))
                }
    intervals: Any = read_table(both)["interval"].to_pylist()
    assert [name for name, _ in groupby(intervals)] == [*names, *names]
    assert of_interval(records_in(both, "hot"), "15m") != of_interval(
        records_in(both, "theta"), "15m"
    )


@pytest.mark.parametrize("minute", [COUNT - 12, 40])
def test_from_is_a_group_whose_windows_were_warm(
    minute: int, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """A group that was created on a stream with all older candles, MARKETSTATE_START=warm. There
    are none in minute 40, and the next one ends one of 3m from before.
    """
    entries = messy_entries(SYMBOLS, COUNT)
    at_ms = candle(SYMBOLS[0], minute, 1.0).close_time
    settings: dict[str, Any] = {
        **{"publish_interval": 180, "emit_on_regime_change": True},
        "intervals": "1m,3m",
    }
    worker: SteppedWorker | None = None
    for number, (time_ms, fields) in enumerate(entries):
        if time_ms >= at_ms and worker is None:
            # The group is created now.
            worker = small_worker(server, **settings)
            work_off(worker)
            assert published(client) == {}
        strings = [part for pair in fields.items() for part in pair]
        add_raw(client, INPUT, f"{time_ms}-{number}", *strings)
    assert worker is not None
    work_off(worker)
    path = write_recording(tmp_path / "a.jsonl.gz", entries)
    out, _ = history(server, tmp_path, "a.parquet", path, "--from", at_ms, **settings)
    for name, stream in {"1m": OUTPUT, "3m": f"{OUTPUT}.3m"}.items():
        expected = {
            symbol.encode(): [fields[b"record"] for fields in its_entries]
            for symbol, its_entries in published(client, stream).items()
        }
        assert set(expected) == {symbol.encode() for symbol in SYMBOLS}
        assert of_interval(records_in(out), name) == expected
        first_ms = decode_record(expected[SYMBOLS[0].encode()][0]).close_time_ms
        assert (first_ms < at_ms) == (minute == 40 and name == "3m")


def test_from_leaves_out_the_states_of_candle_files_that_are_earlier(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, COUNT)
    at_ms = candle(SYMBOLS[0], COUNT - 12, 1.0).close_time
    all_of_them, _ = history(server, tmp_path, "all.parquet", folder, "--every-close")
    options = (folder, "--every-close", "--from", at_ms)
    later, _ = history(server, tmp_path, "later.parquet", *options)
    assert records_in(later) == {
        symbol: records[-12:] for symbol, records in records_in(all_of_them).items()
    }


def test_to_ends_where_the_candles_would(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, COUNT)
    end_ms = candle(SYMBOLS[0], COUNT - 20, 1.0).close_time
    found, _ = history(server, tmp_path, "a.parquet", folder, "--to", end_ms)
    for path in folder.iterdir():
        path.write_text("".join(path.read_text().splitlines(keepends=True)[: COUNT - 20]))
    assert records_in(found) == replayed(server, client, tmp_path, "few", folder)
