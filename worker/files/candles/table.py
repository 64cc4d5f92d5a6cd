"""A candle file as rows of cells: the separator, a banner before the names, the line of names."""

import csv
import re
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
    broken: str = ""
    """Why it has no cells."""


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
            found = next(_rows([line], separator, number - 1), Row(number, [""]))
            cells = found.cells or line.split(separator)
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
    except CutOff as error:
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
    """Those with anything in them. Without a quote, a line need not be parsed: to split it takes
    half the time.
    """
    for number, line in enumerate(lines, start=before + 1):
        text = line.rstrip("\r\n")
        if '"' in text:
            row = _quoted_row(text, separator, number)
            if row.broken or any(row.cells):
                yield row
            continue
        cells = text.split(separator)
        if text.split() != [text]:
            cells = _stripped(cells)
        if any(cells):
            yield Row(number, cells)


def _quoted_row(text: str, separator: str, number: int) -> Row:
    """A row is one line: a quote that was left open would take all lines up to the next one with
    it. What follows a quote within its cell would become a part of a number.
    """
    if '" ' in text:
        text = re.sub(rf'" +(?={separator}|\Z)', '"', text)
    try:
        [cells] = csv.reader([text], delimiter=separator, skipinitialspace=True, strict=True)
    except csv.Error:
        return Row(number, [], "a quote is not closed in its line, or not at the end of its cell")
    return Row(number, _stripped(cells))


def _stripped(cells: Iterable[str]) -> list[str]:
    return [*map(str.strip, cells)]
