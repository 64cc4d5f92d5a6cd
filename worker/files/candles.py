"""Candle files: CSV, plain or gzipped, one symbol each.

The file name gives symbol and interval: `BTCUSDT-1m.csv.gz`, `BTCUSDT-1m-2025-05.csv`. If the first
line names the columns, `close` and one of `close_time` and `open_time` are required. Other columns
of a candle are read if they exist, and a time column may include its unit: `close_time_ms`. Without
a header line, 12 columns are those of Binance's public files, and 6 columns are open_time, open,
high, low, close, volume. Times are in milliseconds, or in microseconds as in Binance's spot files
since 2025; no plausible time is ambiguous.
"""

import csv
import gzip
import heapq
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from schemas.candle import LATEST_CLOSE_TIME_MS, Candle, CandleRejected, check_candle
from schemas.interval import interval_ms
from worker.errors import ConfigurationError, FileUnusable
from worker.files.bad_lines import OnBad, refuse

SUFFIXES: Final = (".csv", ".csv.gz")
MAX_LINE_CHARACTERS: Final = 65_536
PLAIN_COLUMNS: Final = ("open_time", "open", "high", "low", "close", "volume")
BINANCE_COLUMNS: Final = (
    *PLAIN_COLUMNS,
    *("close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_WITHOUT_NAMES: Final = {len(columns): columns for columns in (PLAIN_COLUMNS, BINANCE_COLUMNS)}
# As microseconds this is in the year 1973; as milliseconds, in the year 5138.
_FIRST_MICROSECONDS: Final = 100_000_000_000_000


class ReadCandle(NamedTuple):
    candle: Candle
    path: Path
    line: int

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.line}"


def find_files(folder: Path) -> list[Path]:
    """The candle files of a folder, sorted by name."""
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder; expected one with candle files")
    found = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES))
    if not found:
        raise ConfigurationError(f"{folder} has no file ending in {' or '.join(SUFFIXES)}")
    return found


def each_file(paths: Iterable[Path]) -> list[Path]:
    """The files in `paths`, with each folder replaced by its candle files."""
    return [file for path in paths for file in (find_files(path) if path.is_dir() else [path])]


def interval_of(paths: Iterable[Path]) -> str:
    """The candle interval in the names of these files; it must be the same in all."""
    found = {_named(path)[1]: path for path in paths}
    if len(found) > 1:
        raise ConfigurationError(
            "all files must have the same candle interval; found "
            f"{', '.join(map(str, found.values()))}"
        )
    return next(iter(found))


def read_by_time(paths: Iterable[Path], on_bad: OnBad = refuse) -> Iterator[ReadCandle]:
    """The candles of all files by close time, as in a stream."""
    files = [read_file(path, on_bad) for path in paths]
    return heapq.merge(*files, key=lambda read: read.candle.close_time)


def read_file(path: Path, on_bad: OnBad = refuse) -> Iterator[ReadCandle]:
    """The candles by close time. Raises FileUnusable if this is not a candle file; bad rows, rows
    out of order and a cut-off end go to `on_bad`.
    """
    rows = _Rows(path)
    last_ms = 0
    try:
        with _opened(path) as file:
            for row in rows.read(file):
                try:
                    candle = rows.candle(row)
                except CandleRejected as error:
                    on_bad(rows.where, str(error))
                    continue
                if candle.close_time <= last_ms:
                    on_bad(rows.where, f"close time {candle.close_time} comes after {last_ms}")
                    continue
                last_ms = candle.close_time
                yield ReadCandle(candle, path, rows.line)
    except (EOFError, zlib.error, csv.Error) as error:
        rows.line += 1
        on_bad(rows.where, f"not a candle file from here on: {error}")
    except OSError as error:
        raise FileUnusable(f"cannot read {path}: {error.strerror or error}") from None
    if rows.line <= rows.first_line:
        raise FileUnusable(f"{path} has no candles")


def _opened(path: Path) -> IO[str]:
    # Bytes that are not UTF-8 become escapes, so that their own line is shown and refused.
    how = {"encoding": "utf-8-sig", "errors": "backslashreplace", "newline": ""}
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", **how)  # type: ignore[call-overload, no-any-return]
    return path.open("rt", **how)  # type: ignore[call-overload, no-any-return]


class _Rows:
    """The rows of one file, and the meaning of their columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._symbol, self._interval = _named(path)
        self._interval_ms = interval_ms(self._interval) or 0
        self._columns: Sequence[str] = ()
        self._wanted: list[tuple[str, int]] = []
        self.line = 0
        self.first_line = 0
        """The line before the first candle: 1 if there is a header line."""

    @property
    def where(self) -> str:
        return f"{self._path}, line {self.line}"

    def read(self, file: IO[str]) -> Iterator[list[str]]:
        rows = csv.reader(_bounded(file))
        for row in rows:
            self.line = rows.line_num
            if self._columns:
                if row:
                    yield row
            elif row and row[0].strip()[:1].isdigit():
                self._understand(self._columns_of(len(row)))
                yield row
            else:
                self.first_line = self.line
                names = (name.strip().lower().replace(" ", "_") for name in row)
                self._understand([name.removesuffix("_ms") for name in names])
        if not self._columns:
            raise FileUnusable(f"{self._path} is empty")

    def candle(self, row: list[str]) -> Candle:
        """Raises CandleRejected."""
        if len(row) != len(self._columns):
            raise CandleRejected(f"found {len(row)} columns, expected {len(self._columns)}")
        values: dict[str, object] = {name: row[i] for name, i in self._wanted}
        values["symbol"], values["interval"] = self._symbol, self._interval
        for name in ("open_time", "close_time"):
            if name in values:
                values[name] = _time_ms(name, str(values[name]))
        if "close_time" not in values:
            values["close_time"] = values["open_time"] + self._interval_ms - 1  # type: ignore[operator]
        try:
            candle = msgspec.convert(values, Candle, strict=False)
        except msgspec.ValidationError as error:
            # The error ends with the path of the column: "... - at `$.close`".
            name = str(error).rpartition("$.")[2].rstrip("`")
            expected = "true or false" if name == "is_closed" else "a number"
            raise CandleRejected(
                f"{name} is {str(values[name])[:40]!r}; expected {expected}"
            ) from None
        check_candle(candle, LATEST_CLOSE_TIME_MS)
        return candle

    def _columns_of(self, count: int) -> Sequence[str]:
        if count not in _WITHOUT_NAMES:
            raise FileUnusable(
                f"{self.where}: {count} columns without names; expected "
                f"{' or '.join(map(str, sorted(_WITHOUT_NAMES)))} comma-separated columns, or a "
                "header line with their names"
            )
        return _WITHOUT_NAMES[count]

    def _understand(self, columns: Sequence[str]) -> None:
        time = "open_time" if "open_time" in columns else "close_time"
        if missing := {"close", time} - set(columns):
            raise FileUnusable(
                f"{self._path}: no column {' and '.join(sorted(missing))} among "
                f"{', '.join(columns)}; the first line must name the columns, comma-separated, as "
                "UTF-8 text"
            )
        known = set(Candle.__struct_fields__) - {"symbol", "interval"}
        self._columns = columns
        self._wanted = [(name, i) for i, name in enumerate(columns) if name in known]


def _bounded(file: IO[str]) -> Iterator[str]:
    while line := file.readline(MAX_LINE_CHARACTERS + 1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise csv.Error(f"a line has more than {MAX_LINE_CHARACTERS:,} characters")
        yield line


def _time_ms(name: str, text: str) -> int:
    try:
        time = int(text)
    except ValueError:
        raise CandleRejected(f"{name} is {text[:40]!r}, not a whole number") from None
    return time // 1_000 if time >= _FIRST_MICROSECONDS else time


def _named(path: Path) -> tuple[str, str]:
    """Symbol and interval from a file name."""
    match = re.match(r"([^-.]+)-(\d+[smhdw])[-.]", path.name)
    if match is None:
        raise FileUnusable(f"{path}: the name must give symbol and interval, as in BTCUSDT-1m.csv")
    return match[1], match[2]
