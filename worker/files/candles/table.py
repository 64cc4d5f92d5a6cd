"""A candle file as rows of cells: the separator, a banner before the names, the line of names."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.candles.columns import Columns, is_data, named, role_of, without_names
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.opening import CutOff, lines_of

_MOST_BANNER_LINES: Final = 5


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    line: int
    cells: list[str]


class Table(NamedTuple):
    columns: Columns
    rows: Iterator[Row]
    """Raises CutOff where the rest of the file cannot be read."""


def open_table(path: Path, said: Said) -> Table:
    """Raises FileUnusable if the columns cannot be told."""
    lines = lines_of(path)
    banner: list[str] = []
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            separator = separator_of(line)
            cells = next(_rows([line], separator, number - 1), Row(number, [""])).cells
            where = f"{path}, line {number}"
            if is_data(cells):
                if banner and not said.columns:
                    break
                columns = without_names(cells, said, where)
                return Table(columns, _rows(chain([line], lines), separator, number - 1))
            if any(map(role_of, cells)):
                return Table(named(cells, said, where), _rows(lines, separator, number))
            banner.append(line.strip())
            if len(banner) > _MOST_BANNER_LINES:
                break
    except (CutOff, csv.Error) as error:
        raise FileUnusable(f"{path}, line {number + 1}: not a candle file: {error}") from None
    if not banner:
        raise FileUnusable(f"{path} is empty")
    raise FileUnusable(
        f"{path}: {banner[0][:80]!r} is neither a candle nor a line of names such as "
        "open_time,open,high,low,close,volume"
    )


def separator_of(line: str) -> str:
    """Commas are in values where semicolons or tabs separate them, never the other way round."""
    return next((each for each in ";\t" if each in line), ",")


def _rows(lines: Iterable[str], separator: str, before: int) -> Iterator[Row]:
    """Those with anything in them. Before the first quote, a row is a line, which need not be
    parsed: to split it takes half the time.
    """
    lines = iter(lines)
    for number, line in enumerate(lines, start=before + 1):
        if '"' in line:
            yield from _quoted_rows(chain([line], lines), separator, number - 1)
            return
        text = line.rstrip("\r\n")
        cells = text.split(separator)
        if text.split() != [text]:
            cells = _stripped(cells)
        if any(cells):
            yield Row(number, cells)


def _quoted_rows(lines: Iterable[str], separator: str, before: int) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        for cells in reader:
            if any(stripped := _stripped(cells)):
                yield Row(before + reader.line_num, stripped)
    except csv.Error as error:
        raise CutOff(str(error)) from None


def _stripped(cells: Iterable[str]) -> list[str]:
    return [*map(str.strip, cells)]
