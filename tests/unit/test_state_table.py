"""The demo's table, on terminals of several widths."""

import io

import pytest

from marketstate.worker.commands.state_table import StateTable
from tests.support.records import make_record
from tests.support.terminal import blank_terminal

NAMES = ["symbol", "close", "ts", "regime", "trend", "mr", "chop"]


def shown(columns: int, lines: int, rows: int) -> list[str]:
    with blank_terminal(columns, lines) as terminal:
        table = StateTable(terminal.stream)
        for i in range(rows):
            table.add(make_record("BTCUSDT", i, close=97_123.5))
        return terminal.end().splitlines()


@pytest.mark.parametrize("columns", [200, 120, 100, 80, 60])
def test_a_row_is_one_line_of_the_terminal(columns: int) -> None:
    lines = shown(columns, 24, 5)
    assert len(lines) == 6
    assert max(map(len, lines)) <= columns


def test_80_columns_have_the_price_and_the_regime_and_120_have_everything() -> None:
    names, row = shown(80, 24, 1)
    assert names.split() == ["closed", "(UTC)", *NAMES]
    assert row == (
        "05-04 15:40:59  BTCUSDT           97123.5   0.2500  chop    20.0%  20.0%  60.0%"
    )
    names, row = shown(120, 24, 1)
    assert {"sigma", "mu", "closes", *NAMES} < {*names.split()}
    assert row.startswith("2025-05-04 ")


def test_the_names_come_again_before_they_leave_the_screen() -> None:
    lines = shown(80, 24, 66)
    places = [i for i, line in enumerate(lines) if line.startswith("closed")]
    assert places == [0, 23, 46]


def test_without_a_terminal_they_come_once_with_every_column() -> None:
    stream = io.StringIO()
    table = StateTable(stream)
    for i in range(100):
        table.add(make_record("BTCUSDT", i))
    lines = stream.getvalue().splitlines()
    assert [i for i, line in enumerate(lines) if line.startswith("closed at (UTC)")] == [0]
    assert lines[0].split()[-1] == "closes"
