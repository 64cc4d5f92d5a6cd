"""History files in tests: reading them back, and a recording with everything that can go wrong."""

import csv
import gzip
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet

from marketstate.core.theta import merged_theta
from marketstate.schemas.candle import Candle
from marketstate.schemas.history import COLUMNS, METADATA_KEY, About, record_of
from marketstate.schemas.market_state import decode_record, encode_record
from marketstate.schemas.recording import RecordedEntry, encode_entry, encode_header
from tests.support.candles import FORMS, made_candles
from tests.support.replaying import SMALL

Records = dict[bytes, list[bytes]]
"""By symbol, in order."""


def records_in(path: Path, theta: str | None = None) -> Records:
    """The records of a file, made of its rows if it is a table; of one run, or of all."""
    if path.name.endswith(".jsonl.gz"):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        return _by_symbol([(decode_record(line).symbol, line) for line in lines])
    if path.name.endswith(".csv.gz"):
        with gzip.open(path, "rt", newline="") as file:
            rows = [_typed(row) for row in csv.DictReader(file)]
        small: Any = merged_theta(SMALL)
        return _by_symbol([_record(row, {"theta": small}) for row in rows])
    table = read_table(path)
    about = about_of(table)
    thetas = {each.name: each.parameters for each in about.thetas}
    at = table.schema.get_field_index("close_time")
    rows = table.set_column(at, "close_time", table["close_time"].cast("int64")).to_pylist()
    return _by_symbol([_record(row, thetas) for row in rows if theta in (None, row["theta"])])


def _record(row: dict[str, Any], thetas: dict[str, Any]) -> tuple[str, bytes]:
    return row["symbol"], encode_record(record_of(row, thetas[row["theta"]])).encode()


def of_interval(records: Records, interval: str) -> Records:
    """Those of one interval."""
    found = {
        symbol: [record for record in of_symbol if decode_record(record).interval == interval]
        for symbol, of_symbol in records.items()
    }
    return {symbol: of_symbol for symbol, of_symbol in found.items() if of_symbol}


def _typed(row: dict[str, str]) -> dict[str, Any]:
    of_kind: dict[str, Any] = {"text": str, "number": float, "time": int, "count": int}
    return {column.name: of_kind[column.kind](row[column.name]) for column in COLUMNS}


def read_table(path: Path) -> Any:
    if path.suffix == ".arrow":
        with pa.ipc.open_file(path) as reader:
            return reader.read_all()
    return pyarrow.parquet.read_table(path)


def about_of(table: Any) -> About:
    return msgspec.json.decode(table.schema.metadata[METADATA_KEY.encode()], type=About)


def _by_symbol(found: list[tuple[str, bytes]]) -> Records:
    by_symbol: Records = defaultdict(list)
    for symbol, record in found:
        by_symbol[symbol.encode()].append(record)
    return dict(by_symbol)


def write_recording(
    path: Path, entries: list[tuple[int, dict[str, Any]]], bad_line: str = ""
) -> Path:
    """Each entry is written at its time in ms; the bad line comes in the middle."""
    lines = [encode_header("quantum:stream:market.klines")]
    for number, (time_ms, fields) in enumerate(entries):
        lines.append(encode_entry(RecordedEntry(f"{time_ms}-{number}", strings_of(fields))))
    if bad_line:
        lines.insert(len(lines) // 2, bad_line.encode() + b"\n")
    path.write_bytes(gzip.compress(b"".join(lines)))
    return path


def strings_of(fields: dict[str, Any]) -> list[bytes]:
    """Name, value, name, value ..."""
    parts = (part for pair in fields.items() for part in pair)
    return [part.encode() if isinstance(part, str) else part for part in parts]


def messy_entries(symbols: tuple[str, ...], count: int) -> list[tuple[int, dict[str, Any]]]:
    """Entries of all forms, with gaps, doubles, late ones, and some that are no candles."""
    entries: list[tuple[int, dict[str, Any]]] = []
    forms = [*FORMS.values()]
    candles = made_candles(symbols, count)
    for i, one in enumerate(candles):
        number = i // len(symbols)
        # A short gap, and one after which the window starts over.
        if number in (14, 15) or 30 <= number < 45:
            continue
        entries.append((one.close_time + 5, forms[i % len(forms)](one)))
        if number % 11 == 3:
            entries.append((one.close_time + 6, forms[0](one)))
            entries.append((one.close_time + 7, forms[1](_with(one, close=one.close + 1))))
            late = candles[max(0, i - 5 * len(symbols))]
            entries.append((one.close_time + 8, forms[0](late)))
        if number % 13 == 5:
            entries += [
                (one.close_time + 9, {"payload": f'{{"symbol": "{one.symbol}", "close": 0}}'}),
                (one.close_time + 9, {"no": "candle", "at": b"\xff\x00"}),
                (one.close_time + 9, forms[0](_with(one, interval="5m"))),
                (one.close_time + 9, forms[0](_with(one, is_closed=False))),
                (one.close_time + 9, forms[1](_with(one, close_time=one.close_time + 10**9))),
            ]
    # As in a stream, no entry is older than the one before it.
    times = accumulate((time_ms for time_ms, _ in entries), max)
    return [(time_ms, fields) for time_ms, (_, fields) in zip(times, entries, strict=True)]


def _with(one: Candle, **changes: Any) -> Candle:
    return msgspec.structs.replace(one, **changes)
