"""Price files: closes of one symbol, oldest first, plain or gzipped.

Either one price per line, with or without a header line, or a candle file.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from worker.errors import ConfigurationError
from worker.files.candles import read_file

# Far longer than any price or header line; the rest of a longer line is not read.
_LONGEST_LINE: Final = 10_000


class Prices(NamedTuple):
    symbol: str
    closes: list[float]
    close_time_ms: int | None
    """Of the last close; None if the file has only prices."""


def read_prices(path: Path) -> Prices:
    """Raises ConfigurationError, which names the file, the line and what is wrong."""
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
                continue  # a header line
            price = math.nan
        if not (math.isfinite(price) and price > 0):
            raise ConfigurationError(
                f"{path}, line {number}: {line[:40]!r} is not a price; expected one number per "
                "line, finite and above 0"
            )
        yield price


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    try:
        with _opened(path) as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) >= _LONGEST_LINE:
                    raise ConfigurationError(
                        f"{path}, line {number} has {_LONGEST_LINE:,} characters or more; expected "
                        "one number per line"
                    )
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text") from None
    except (EOFError, zlib.error) as error:
        raise ConfigurationError(f"{path} is not a price file: {error}") from None


def _opened(path: Path) -> TextIO:
    open_text = gzip.open if path.name.endswith(".gz") else open
    return open_text(path, "rt", encoding="utf-8-sig")
