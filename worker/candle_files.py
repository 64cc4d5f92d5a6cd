"""Candle files: CSV, plain or gzipped, one symbol each, with a line of column names.

The file's name says symbol and interval: `BTCUSDT-1m.csv.gz`, `BTCUSDT-1m-2025-05.csv`. Columns
`close` and `close_time` are needed; the others of a candle are read where they are. Times are in
milliseconds, and a column may say so: `close_time_ms`.
"""

import csv
import gzip
import heapq
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from schemas.candle import LATEST_CLOSE_TIME_MS, Candle, CandleRejected, check_candle
from worker.errors import ConfigurationError

SUFFIXES: Final = (".csv", ".csv.gz")


def find_files(folder: Path) -> list[Path]:
    """The candle files of a folder, by name."""
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder; expected one with candle files")
    found = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES))
    if not found:
        raise ConfigurationError(f"{folder} has no file that ends in {' or '.join(SUFFIXES)}")
    return found


def interval_of(paths: Iterable[Path]) -> str:
    """The candle interval that the names of all these files agree on."""
    found = {_named(path)[1]: path for path in paths}
    if len(found) > 1:
        raise ConfigurationError(
            f"candles of one interval are needed; found {', '.join(map(str, found.values()))}"
        )
    return next(iter(found))


def read_by_time(paths: Iterable[Path]) -> Iterator[Candle]:
    """The candles of all files in order of their close times, as a stream has them."""
    return heapq.merge(*map(read_file, paths), key=lambda candle: candle.close_time)


def read_file(path: Path) -> Iterator[Candle]:
    """Raises ConfigurationError, which names file, line and what is wrong with it."""
    symbol, interval = _named(path)
    open_text = gzip.open if path.name.endswith(".gz") else open
    line = 1
    try:
        with open_text(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = {
                column: column.strip().removesuffix("_ms") for column in rows.fieldnames or ()
            }
            if missing := {"close", "close_time"} - set(columns.values()):
                raise ConfigurationError(
                    f"{path}: no column {' and '.join(sorted(missing))} among "
                    f"{', '.join(columns) or 'none'}; the first line must name the columns"
                )
            wanted = {
                column: name
                for column, name in columns.items()
                if name in Candle.__struct_fields__ and name not in ("symbol", "interval")
            }
            for row in rows:
                line = rows.line_num
                values = {name: row[column] for column, name in wanted.items()}
                candle = msgspec.convert(
                    values | {"symbol": symbol, "interval": interval}, Candle, strict=False
                )
                check_candle(candle, LATEST_CLOSE_TIME_MS)
                yield candle
            if line == 1:
                raise ConfigurationError(f"{path} has no candles")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    except (msgspec.ValidationError, CandleRejected) as error:
        raise ConfigurationError(f"{path}, line {line}: {error}") from None
    except (UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        raise ConfigurationError(f"{path}: no candle file: {error}") from None


def _named(path: Path) -> tuple[str, str]:
    """Symbol and interval from a file's name."""
    match = re.match(r"([^-.]+)-(\d+[smhdw])[-.]", path.name)
    if match is None:
        raise ConfigurationError(
            f"{path}: the name does not say symbol and interval, such as BTCUSDT-1m.csv"
        )
    return match[1], match[2]
