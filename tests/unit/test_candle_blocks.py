"""Many rows of a candle file at once become what each of them would become alone."""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marketstate.schemas.times import time_ms, times_ms
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.candles import file
from marketstate.worker.files.candles.file import read_file
from marketstate.worker.files.candles.following import Following
from marketstate.worker.files.candles.table import _quoted_row, _rows
from marketstate.worker.files.findings import Findings
from tests.support.candles import MINUTE_MS, START_MS

USUAL_MS: Final = str(START_MS)
NOW_MS: Final = START_MS + 12 * MINUTE_MS
STEPS: Final = st.sampled_from((*(8 * [MINUTE_MS]), 0, 1, 3 * MINUTE_MS, -MINUTE_MS, -90_000))
CLOSES: Final = st.sampled_from((*(8 * ["101.5"]), "101.25", "0", "x"))


@given(st.text("01a,;\t \u00a0\r\n", max_size=40), st.sampled_from(",;\t"))
def test_lines_without_quotes_are_split_as_csv_parses_them(text: str, separator: str) -> None:
    lines = [*io.StringIO(text, newline="")]
    parsed = [_quoted_row(line.rstrip("\r\n"), separator, i) for i, line in enumerate(lines, 8)]
    assert [*_rows(lines, separator, 7)] == [row for row in parsed if any(row.cells)]


@pytest.mark.parametrize(
    "odd",
    [
        *(USUAL_MS[:-3], USUAL_MS + "000", "2025-05-04 15:40:59", "0" + USUAL_MS[:-1]),
        *("9" * 13, "\u0663" * 13, " " + USUAL_MS[1:], USUAL_MS[:-1] + "x", "", "-" + USUAL_MS[1:]),
    ],
)
def test_times_that_are_read_together_are_what_each_is_alone(odd: str) -> None:
    texts = [USUAL_MS, odd, USUAL_MS]
    assert said(lambda: times_ms(texts)) == said(lambda: [time_ms(text) for text in texts])


def said(read: Callable[[], list[int]]) -> list[int] | str:
    try:
        return read()
    except ValueError as error:
        return str(error)


def what_is_read(path: Path, *, skip_bad: bool) -> tuple[list[str], Any]:
    """The candles with their places, and what is found or refused."""
    findings = Findings(skip_bad=skip_bad)
    read: list[str] = []
    clock = SimpleNamespace(time=lambda: NOW_MS / 1_000)
    with patch.object(file, "ROWS_AT_ONCE", 2), patch.object(file, "time", clock):
        try:
            read += (f"{one.where} {one.written} {one.candle}" for one in read_file(path, findings))
        except FileUnusable as error:
            return read, str(error)
    return read, findings.plain()


@example(steps=[(MINUTE_MS, "1")] * 20, skip_bad=False)
@settings(max_examples=60)
@given(steps=st.lists(st.tuples(STEPS, CLOSES), min_size=1, max_size=24), skip_bad=st.booleans())
def test_candles_that_are_judged_together_are_what_each_is_alone(
    steps: list[tuple[int, str]], skip_bad: bool
) -> None:
    """Doubles, gaps, rows out of order, of the future and bad ones are found as if each was looked
    at.
    """
    time_at_ms, lines = START_MS, ["close_time,close"]
    for step_ms, close in steps:
        time_at_ms += step_ms
        lines.append(f"{time_at_ms},{close}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "BTCUSDT-1m.csv")
        path.write_text("\n".join(lines))
        together = what_is_read(path, skip_bad=skip_bad)
        with patch.object(Following, "all_are_next", return_value=False):
            assert together == what_is_read(path, skip_bad=skip_bad)


def test_usual_candles_are_judged_together(tmp_path: Path) -> None:
    """Or the test above would say nothing."""
    path = tmp_path / "BTCUSDT-1m.csv"
    rows = (f"{START_MS + i * MINUTE_MS},{100 + i}" for i in range(20))
    path.write_text("close_time,close\n" + "\n".join(rows))
    with patch.object(Following, "place_of", side_effect=AssertionError):
        assert len(list(read_file(path))) == 20
