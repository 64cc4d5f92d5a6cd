"""Price files: closes of one symbol, oldest first: one price per line, or candle files."""

import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from marketstate.worker.errors import ConfigurationError, FileUnusable
from marketstate.worker.files.candles.columns import role_of
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.opening import CutOff, lines_of

_LINES_LOOKED_AT: Final = 10
# A name such as `close`, not a number or a missing value.
_COLUMN_NAME: Final = re.compile(
    r'"?(?!(nan|inf|infinity|null|none|na|n/a|missing)\b)[^\W\d][\w ./()-]{0,63}"?', re.I
)
_DECIMAL_COMMA: Final = re.compile(r"[0-9]+,[0-9]*")


class Prices(NamedTuple):
    symbol: str
    closes: list[float]
    times_ms: list[int]
    """Close times; none if the file has only prices."""
    interval: str | None = None

    @property
    def close_time_ms(self) -> int | None:
        """Of the last close."""
        return self.times_ms[-1] if self.times_ms else None


def read_prices(path: Path, said: Said, findings: Findings) -> Prices:
    """Raises ConfigurationError, which names the file, the line and what is wrong."""
    if path.is_dir() or _has_columns(path):
        if not said.columns:
            _refuse_no_columns(path)
        return _of_candles(path, said, findings)
    if said.interval or said.columns or said.time:
        raise ConfigurationError(
            f"{path} has one price per line; --interval, --columns and --time are for candles"
        )
    return Prices(said.symbol or path.name.partition(".")[0], list(_prices(path, findings)), [])


def _of_candles(path: Path, said: Said, findings: Findings) -> Prices:
    files = CandleFiles([path], said)
    if len(files.symbols) > 1:
        raise ConfigurationError(
            f"{path} has candles of {', '.join(files.symbols)}; name a file of one symbol"
        )
    candles = [read.candle for read in files.read(findings)]
    return Prices(
        files.symbols[0],
        [candle.close for candle in candles],
        [candle.close_time for candle in candles],
        files.interval,
    )


def _has_columns(path: Path) -> bool:
    first = [line for _, line in islice(_lines(path), _LINES_LOOKED_AT)]
    return any(separator in line for line in first for separator in ",;\t")


def _refuse_no_columns(path: Path) -> None:
    """What has a comma need not be a CSV file."""
    _, first = next(_lines(path)) if path.is_file() else (0, "")
    if first.startswith(("[", "{")):
        raise FileUnusable(
            f"{path} seems to be JSON: it starts with {first[:40]!r}; expected one price per line, "
            "or candles as CSV"
        )
    if _DECIMAL_COMMA.fullmatch(first):
        raise FileUnusable(
            f"{path}, line 1: {first!r} may be one price with a decimal comma, or two columns; "
            "write prices with a point, and name columns in a first line"
        )


def _prices(path: Path, findings: Findings) -> Iterator[float]:
    is_first = True
    for number, line in _lines(path):
        was_first, is_first = is_first, False
        try:
            price = float(line.strip('"'))
        except ValueError:
            price = math.nan
            if was_first and _COLUMN_NAME.fullmatch(line):
                _refuse_another_column(path, line.strip('"'))
                continue
        if math.isfinite(price) and price > 0 and line.isascii() and "_" not in line:
            yield price
            continue
        or_name = ", after at most one line with the name of the column" if was_first else ""
        findings.bad(
            f"{path}, line {number}",
            f"{line[:40]!r} is not a price; expected one number per line, finite and above 0, "
            f"oldest first{or_name}",
        )


def _refuse_another_column(path: Path, name: str) -> None:
    if role_of(name) not in (None, "close"):
        raise FileUnusable(f"{path}: its only column is {name[:40]}; a state needs closes")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    number = 0
    try:
        for number, line in enumerate(lines_of(path), start=1):
            if text := line.strip():
                yield number, text
    except CutOff as error:
        raise FileUnusable(f"{path}, line {number + 1}: not a price file: {error}") from None
