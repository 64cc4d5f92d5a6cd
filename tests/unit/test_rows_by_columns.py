"""Rows of a candle file that are read together become what each of them would become alone."""

from itertools import product
from pathlib import Path
from typing import Final

import pytest

from marketstate.schemas.candle import Candle
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.candles.columns import named
from marketstate.worker.files.candles.rows import RowReader
from marketstate.worker.files.candles.said import NOTHING
from marketstate.worker.files.candles.table import Row
from marketstate.worker.files.candles.timing import Timing

NAMES: Final = (
    *("close_time", "open_time", "open", "high", "low"),
    *("close", "volume", "symbol", "interval"),
)
OPENED_MS: Final = 1_746_373_200_000

USUAL: Final = (
    *(str(OPENED_MS + 59_999), str(OPENED_MS), "95459.2", "1e5", "7e-3"),
    *("95460", "0", "btc/usdt", "1m"),
)
ODD: Final = (
    *("", "-", "x", "0", "-0.0", "-1", "nan", "inf", "1_0", "1e400", "1e308", "\u0663"),
    *("1746373200", "1_746_373_200_000", "2025-05-04 15:40", "17"),
    *("ETHUSDT", "BTCUSDT", "5m", "60"),
)


def read(reader: RowReader, rows: list[list[str]]) -> list[str] | str:
    try:
        return [repr(one) for one in reader.read([Row(1, cells) for cells in rows])]
    except FileUnusable as error:
        return str(error)


def one_by_one(reader: RowReader, rows: list[list[str]]) -> list[str] | str:
    """A row without a close is read by itself, and so are those beside it."""
    found = []
    for cells in rows:
        both = read(reader, [cells, [*"xxxxxxx", "", ""]])
        if isinstance(both, str):
            return both
        found.append(both[0])
    return found


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("names", [NAMES, (*NAMES[:2], "-", "-", "-", "close", "-", "-", "-")])
def test_rows_that_are_read_together_are_what_each_is_alone(
    names: tuple[str, ...], is_open: bool
) -> None:
    when = Timing(1, "open_time", True, None) if is_open else Timing(0, "close_time", False, 1)
    reader = RowReader(
        Path("BTCUSDT-1m.csv"), "BTCUSDT", "1m", named(names, NOTHING, "line 1"), when
    )
    for column, text in product(range(len(NAMES)), (*ODD, *USUAL)):
        rows = [list(USUAL), list(USUAL)]
        rows[1][column] = text
        assert read(reader, rows) == one_by_one(reader, rows), (NAMES[column], text)


def test_usual_rows_are_read_together() -> None:
    """Or the test above would say nothing."""
    reader = RowReader(
        Path("BTCUSDT-1m.csv"),
        "BTCUSDT",
        "1m",
        named(NAMES, NOTHING, "line 1"),
        Timing(0, "close_time", False, 1),
    )
    cells = [str(OPENED_MS + 59_999), str(OPENED_MS), "1", "3", "0.5", "2", "0", "", "1m"]
    assert reader._by_columns([Row(1, cells)]) == [
        Candle(
            symbol="BTCUSDT",
            interval="1m",
            close=2.0,
            close_time=OPENED_MS + 59_999,
            open=1.0,
            high=3.0,
            low=0.5,
            volume=0.0,
            open_time=OPENED_MS,
        )
    ]
