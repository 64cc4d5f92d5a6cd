"""Price files: closes of one symbol, oldest first, plain or gzipped.

Either prices alone, one a line, with or without a line that names the column; or a candle file.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from worker.errors import ConfigurationError
from worker.files.candles import read_file

# No price, and no line with names, needs as many; the rest of such a line is not read.
_LONGEST_LINE: Final = 10_000


class Prices(NamedTuple):
    symbol: str
    closes: list[float]
    close_time_ms: int | None
    """Of the last close; None where the file has prices alone."""


def read_prices(path: Path) -> Prices:
    """Raises ConfigurationError, which names file, line and what is wrong with it."""
    if _has_columns(path):
        candles = [read.candle for read in read_file(path)]
        closes = [candle.close for candle in candles]
        return Prices(candles[-1].symbol, closes, candles[-1].close_time)
    return Prices(path.name.partition(".")[0], list(_prices(path)), None)


def _has_columns(path: Path) -> bool:
    first = next(_lines(path), (1, ""))[1]
    return any(separator in first for separator in ",;\t")


def _prices(path: Path) -> Iterator[float]:
    for number, line in _lines(path):
        try:
            price = float(line)
        except ValueError:
            if number == 1:
                continue  # the name of the column
            price = math.nan
        if not (math.isfinite(price) and price > 0):
            raise ConfigurationError(
                f"{path}, line {number}: {line[:40]!r} is no price; one number a line is "
                "expected, finite and above 0"
            )
        yield price


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Those that are not empty, with their numbers."""
    try:
        with _opened(path) as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) >= _LONGEST_LINE:
                    raise ConfigurationError(
                        f"{path}, line {number} has {_LONGEST_LINE:,} characters or more; one "
                        "number a line is expected"
                    )
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is no text (UTF-8)") from None
    except (EOFError, zlib.error) as error:
        raise ConfigurationError(f"{path}: no price file: {error}") from None


def _opened(path: Path) -> TextIO:
    open_text = gzip.open if path.name.endswith(".gz") else open
    return open_text(path, "rt", encoding="utf-8-sig")
