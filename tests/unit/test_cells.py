"""Tables are aligned in the cells of a terminal, whatever letters their symbols have."""

import pytest
from rich.cells import cell_len

from marketstate.worker.commands.cells import cells, cut, left, right
from marketstate.worker.commands.state_table import StateTable
from marketstate.worker.commands.status_tables import wrapped
from marketstate.worker.commands.terminal_size import Size
from tests.support.records import make_record
from tests.support.terminal import blank_terminal

TEXTS = ("", "BTCUSDT", "币安人生USDT", "한국USDT", "ＢＴＣ", "e\u0301TH", "шиба", "a\u200bb")


@pytest.mark.parametrize("text", TEXTS)
def test_cells_are_counted_as_terminals_do(text: str) -> None:
    assert cells(text) == cell_len(text)
    assert [cells(left(text, 20)), cells(right(text, 20))] == [20, 20]
    for width in range(cells(text) + 2):
        assert text.startswith(cut(text, width))
        assert cells(cut(text, width)) in (width, width - 1, cells(text))


def test_wide_letters_shift_no_column_of_the_demo() -> None:
    with blank_terminal(80, 24) as terminal:
        table = StateTable(terminal.stream)
        for symbol in ("BTCUSDT", "币安USDT"):
            table.add(make_record(symbol, 0))
        lines = terminal.end().splitlines()
    assert {cells(line) for line in lines[1:]} == {cells(lines[0])}
    assert lines[1].replace("BTCUSDT ", "币安USDT") == lines[2]


def test_a_long_line_with_wide_letters_is_wrapped_and_not_cut() -> None:
    line = "币安人生USDT: its window is damaged, " * 5
    parts = wrapped(line.strip(), Size(60, 24))
    assert max(map(cells, parts)) <= 60
    assert " ".join(part.strip() for part in parts) == line.strip()
