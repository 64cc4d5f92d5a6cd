"""Frames of pandas and polars have what the records have, with the right types."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import polars as pl
import pytest
import redis
from msgspec.structs import replace

from marketstate.schemas import arrow_tables, frames
from marketstate.schemas.arrow_tables import OF_STATES, ExtraMissing
from marketstate.schemas.candle import encode_envelope
from marketstate.schemas.history import COLUMNS, record_of
from marketstate.schemas.market_state import (
    MarketStateRecord,
    UnknownRecord,
    encode_record,
    stream_fields,
)
from marketstate.schemas.partitions import partition_key
from marketstate.schemas.reader import OUTPUT_STREAM
from marketstate.schemas.recording import RecordedEntry, RecordingError, encode_entry, encode_header
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle
from tests.support.records import make_record, publish
from tests.support.replaying import candle_folder, run

pytestmark = pytest.mark.one_redis_version

BOTH = pytest.mark.parametrize("library", ["pandas", "polars"])
REGIMES = ("trend", "mr", "chop")
STATES = [
    make_record(symbol, number, REGIMES[number % 3], close=97_123.5 + 0.1 * number, sigma=1 / 3)
    for number in range(6)
    for symbol in ("BTCUSDT", "ETHUSDT")
]


def columns_of(frame: Any) -> dict[str, list[Any]]:
    """Times in ms."""
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(pl.col("close_time").dt.timestamp("ms")).to_dict(as_series=False)
    columns = {name: frame[name].tolist() for name in frame}
    return {"close_time": frame.index.as_unit("ms").asi8.tolist()} | columns


def as_records(frame: Any) -> list[MarketStateRecord]:
    """Made again of the rows, to all bits."""
    columns = columns_of(frame)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    sample = STATES[0].windows
    parameters = {
        "trend": {"windows": sample.trend_windows},
        "regime": {"window": sample.regime_window},
    }
    return [record_of(row, parameters) for row in rows]


def same_rows(records: list[MarketStateRecord]) -> list[MarketStateRecord]:
    """A row does not hold windows and components, which the made records do not calculate."""
    return [
        replace(
            record,
            windows=replace(record.windows, returns_n=record.buffer_size - 1),
            ts_components=replace(
                record.ts_components, mu_abs=abs(record.mu), sigma_used=record.sigma
            ),
        )
        for record in records
    ]


def check_types(frame: Any, columns: Any = OF_STATES) -> None:
    """UTC, categories in their order, 64 bits."""
    names = [column.name for column in columns]
    numbers = {column.name for column in columns if column.kind == "number"}
    counts = {column.name for column in columns if column.kind == "count"}
    if isinstance(frame, pl.DataFrame):
        assert frame.columns == names
        for name, dtype in frame.schema.items():
            assert dtype == {
                "close_time": pl.Datetime("ms", "UTC"),
                **dict.fromkeys(numbers, pl.Float64),
                **dict.fromkeys(counts, pl.Int64),
            }.get(name, pl.Categorical), name
        return
    assert [name for name in names if name != "close_time"] == list(frame)
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert (frame.index.name, str(frame.index.dtype)) == ("close_time", "datetime64[ms, UTC]")
    assert tuple(frame["regime"].cat.categories) == REGIMES
    for name, dtype in frame.dtypes.items():
        expected = "float64" if name in numbers else "int64" if name in counts else "category"
        assert str(dtype) == expected, name


@BOTH
def test_states_become_rows_of_the_right_types(library: Any) -> None:
    frame = frames.of_states(STATES, library)
    check_types(frame)
    assert as_records(frame) == same_rows(STATES)
    check_types(frames.of_states([], library))


@BOTH
def test_rows_of_several_batches_have_the_same_categories(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_tables, "_ROWS_AT_ONCE", 5)
    frame = frames.of_states(STATES, library)
    check_types(frame)
    assert as_records(frame) == same_rows(STATES)


def test_a_frame_is_used_as_one_expects() -> None:
    frame = frames.of_states(STATES)
    first = frame.index[0]
    assert first == pd.Timestamp(STATES[0].close_time_ms, unit="ms", tz="UTC")
    by_regime = frame.groupby("regime", observed=False)["sigma"].count()
    assert dict(by_regime) == {"trend": 4, "mr": 4, "chop": 4}
    table = frames.of_states(STATES, "polars")
    assert len(table.filter(pl.col("regime") == "mr")) == 4
    other = replace(STATES[0], regime="a-new-one")
    assert frames.of_states([other])["regime"].tolist() == ["a-new-one"]


@BOTH
def test_the_history_of_candles_has_the_same_records_in_every_format(
    library: Any, histories: dict[str, Path]
) -> None:
    expected = [
        msgspec.json.decode(line, type=MarketStateRecord)
        for line in gzip.decompress(histories["jsonl.gz"].read_bytes()).splitlines()
    ]
    *_, last = {each.symbol: None for each in expected}
    for suffix, path in histories.items():
        frame = frames.of_history(path, library)
        check_types(frame, OF_STATES if suffix == "jsonl.gz" else COLUMNS)
        found = zip(as_records(frame), expected, strict=True)
        # A row does not hold the parameters of the windows.
        assert [replace(row, windows=each.windows) for row, each in found] == expected, suffix
        some = frames.of_history(path, library, symbols=[last], columns=["symbol", "sigma"])
        columns = columns_of(some)
        assert sorted(columns) == ["close_time", "sigma", "symbol"]
        assert {*columns["symbol"]} == {last}
        assert columns["sigma"] == [each.sigma for each in expected if each.symbol == last]


@pytest.fixture(scope="module")
def histories(
    shared_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """By suffix."""
    folder = tmp_path_factory.mktemp("histories")
    candles = candle_folder(folder, 40)
    paths = {each: folder / f"a.{each}" for each in ("parquet", "arrow", "csv.gz", "jsonl.gz")}
    for path in paths.values():
        words = ("history", candles, "--every-close", "--processes", 1, "--out", path)
        code, log = run(shared_server, folder, *words)
        assert code == 0, log
    return paths


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.txt is no file of marketstate history: its name must"):
        frames.of_history(tmp_path / "a.txt")
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode_record(STATES[0]).encode() + b"\n{}\n")
    with pytest.raises(UnknownRecord, match=rf"{path}, line 2: its record cannot be read"):
        frames.of_history(path)
    with pytest.raises(RecordingError, match=rf"{path}, line 1: not a recording.*see of_history"):
        frames.of_recording(path)


def test_another_library_is_refused() -> None:
    other: Any = "numpy"
    with pytest.raises(ValueError, match="library 'numpy' is none of pandas, polars"):
        frames.of_states(STATES, other)


def write_recording(
    path: Path, entries: list[Any], partitions: int | None = None, cut_off: int = 0
) -> Path:
    lines = [encode_header("a-stream", partitions)]
    for number, fields in enumerate(entries, start=1):
        parts = [
            part if isinstance(part, bytes) else str(part).encode()
            for pair in fields.items()
            for part in pair
        ]
        partition = None if partitions is None else number % partitions
        lines.append(
            encode_entry(RecordedEntry(f"{1_746_400_000_000 + number}-0", parts, partition))
        )
    packed = gzip.compress(b"".join(lines))
    path.write_bytes(packed[: len(packed) - cut_off])
    return path


def as_fields(record: MarketStateRecord) -> dict[str, Any]:
    return msgspec.structs.asdict(stream_fields(record, encode_record(record)))


@BOTH
def test_a_recording_of_states_becomes_a_frame(library: Any, tmp_path: Path) -> None:
    entries = [as_fields(record) for record in STATES]
    for partitions in (None, 2):
        path = write_recording(tmp_path / "a.jsonl.gz", entries, partitions)
        frame = frames.of_recording(path, library)
        check_types(frame)
        assert as_records(frame) == same_rows(STATES)
    foreign = write_recording(path, [*entries[:2], {"symbol": "BTCUSDT"}, *entries[2:]])
    with pytest.raises(UnknownRecord, match=rf"{foreign}, line 4: it has no field 'record'"):
        frames.of_recording(foreign, library)
    assert len(frames.of_recording(foreign, library, on_unknown="skip")) == len(STATES)
    foreign = write_recording(path, [{"symbol": "BTCUSDT"}, *entries])
    assert len(frames.of_recording(foreign, library, on_unknown="skip")) == len(STATES)
    with pytest.raises(RecordingError, match=r"line .*: the file is cut off"):
        frames.of_recording(write_recording(path, entries, cut_off=4), library)
    assert len(frames.of_recording(path, library, on_unknown="skip")) == len(STATES)


@BOTH
def test_a_recording_of_candles_becomes_a_frame_of_closed_candles(
    library: Any, tmp_path: Path
) -> None:
    closed = [candle("BTCUSDT", number, 100.1 + number) for number in range(3)]
    running = replace(candle("BTCUSDT", 3, 7.0), is_closed=False)
    few = {"symbol": "ETHUSDT", "close": 2.5, "close_time": closed[2].close_time, "is_closed": 1}
    entries = [encode_envelope(each, source="a") for each in (*closed, running)]
    path = write_recording(tmp_path / "a.jsonl.gz", [*entries, few])
    columns = columns_of(frames.of_recording(path, library))
    assert columns["close"] == [*(each.close for each in closed), 2.5]
    assert columns["symbol"] == ["BTCUSDT"] * 3 + ["ETHUSDT"]
    assert columns["close_time"] == [*(each.close_time for each in closed), few["close_time"]]
    path = write_recording(path, [*entries, {"symbol": "BTCUSDT", "close": "none"}])
    with pytest.raises(RecordingError, match=rf"{path}, line 6: "):
        frames.of_recording(path, library)
    assert len(frames.of_recording(path, library, on_unknown="skip")) == 3


@BOTH
def test_the_last_states_of_a_live_stream(
    library: Any, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_ENTRIES_AT_ONCE", 3)
    check_types(frames.of_stream(client, library=library))
    publish(client, STATES)
    for last, expected in ((99, STATES), (12, STATES), (7, STATES[-7:]), (6, STATES[-6:])):
        frame = frames.of_stream(client, last, library)
        check_types(frame)
        assert as_records(frame) == same_rows(expected)
    some = frames.of_stream(client, 4, library, symbols=["ETHUSDT"])
    assert as_records(some) == same_rows(STATES[-3::2])
    entry_id: Any = client.xadd(OUTPUT_STREAM, {"anything": "else"})
    with pytest.raises(
        UnknownRecord, match=f"entry {entry_id.decode()} of {OUTPUT_STREAM}: it has"
    ):
        frames.of_stream(client, 4, library)
    assert len(frames.of_stream(client, 4, library, on_unknown="skip")) == 3


@BOTH
def test_the_last_states_of_all_partitions(library: Any, client: redis.Redis) -> None:
    for number, record in enumerate(STATES):
        stream = partition_key(OUTPUT_STREAM, number % 3)
        fields: Any = as_fields(record)
        client.xadd(stream, fields, id=f"{number + 1}-0")
    frame = frames.of_stream(client, 7, library, partitions=3)
    assert as_records(frame) == same_rows(STATES[-7:])


def test_the_last_states_of_a_longer_interval(client: redis.Redis) -> None:
    publish(client, STATES)
    longer = [replace(record, interval="5m") for record in STATES]
    for number, record in enumerate(longer):
        fields: Any = as_fields(record)
        client.xadd(f"{OUTPUT_STREAM}.5m", fields, id=f"{number + 1}-0")
        client.xadd(partition_key(f"{OUTPUT_STREAM}.5m", number % 3), fields, id=f"{number + 1}-0")
    for partitions in (None, 3):
        frame = frames.of_stream(client, 7, "polars", interval="5m", partitions=partitions)
        assert as_records(frame) == same_rows(longer[-7:])


def test_one_symbol_is_not_taken_for_many(client: redis.Redis, tmp_path: Path) -> None:
    text: Any = "BTCUSDT"
    with pytest.raises(TypeError, match="'BTCUSDT'; give a list"):
        frames.of_stream(client, symbols=text)
    with pytest.raises(TypeError, match="'BTCUSDT'; give a list"):
        frames.of_history(tmp_path / "states.parquet", symbols=text)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    text = rf"{library} is not installed: it is in the extra `frames`, pip install 'marketstate-wo"
    with pytest.raises(ExtraMissing, match=text):
        frames.of_states(STATES, library if library != "pyarrow" else "pandas")


def test_what_readers_import_needs_msgspec_alone() -> None:
    names = "aio, frames, reader"
    code = f"import sys; from marketstate.schemas import {names}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"numpy", "pandas", "polars", "pyarrow", "redis"} & {*loaded} == set()
    assert "msgspec" in loaded
