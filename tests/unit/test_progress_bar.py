"""How progress is shown: a bar on a terminal, otherwise a few lines."""

import io
import sys
from collections.abc import Callable

import pytest

from marketstate.worker.commands.progress_bar import ProgressBar
from tests.support.terminal import blank_terminal

NOTE = "unfinished: at least 10000"


def run(show: Callable[[ProgressBar, int], None], total: int | None) -> None:
    now_s = 0.0
    progress = ProgressBar(total, "entries", lambda: now_s)
    for second in range(21):
        now_s = float(second)
        show(progress, second)
    progress.end()


def on_terminal(
    columns: int, total: int, note: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    """All that is written, and the lines that are shown one after another."""
    with blank_terminal(columns, 24) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal.stream)
        run(lambda bar, second: bar.show(second * total // 40, note), total)
        text = terminal.end()
    return text, text.removesuffix("\n").split("\r")[1:]


def test_a_terminal_has_a_bar_with_share_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, lines = on_terminal(120, 1_000, "", monkeypatch)
    assert lines[-1].rstrip() == (
        f"[{'#' * 20}{'.' * 20}]  50%  500 of 1,000 entries, 25/s, 20 s left"
    )
    assert (len(lines), text.count("\n")) == (20, 1)


@pytest.mark.parametrize("columns", [300, 120, 100, 80, 60, 40, 20])
@pytest.mark.parametrize("total", [1_000, 11_520_000_000])
@pytest.mark.parametrize("note", ["", NOTE])
def test_progress_is_one_line_of_the_terminal_whatever_it_says(
    columns: int, total: int, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, lines = on_terminal(columns, total, note, monkeypatch)
    assert text.count("\n") == 1
    assert max(map(len, lines)) < columns


def test_80_columns_have_everything_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    _, lines = on_terminal(80, 11_520, NOTE, monkeypatch)
    assert lines[-1].rstrip() == (
        "[#####.....]  50%  5,760 of 11,520, 20 s left; unfinished: at least 10000"
    )
    _, lines = on_terminal(80, 115_200, "", monkeypatch)
    assert lines[-1].rstrip() == (
        "[#####.....]  50%  57,600 of 115,200 entries, 2,880/s, 20 s left"
    )


def test_where_the_total_is_unknown_there_are_a_count_and_a_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with blank_terminal(80, 24) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal.stream)
        run(lambda bar, second: bar.show(second * 25), None)
        text = terminal.end()
    assert text.removesuffix("\n").split("\r")[-1] == "500 entries, 25/s"


def test_without_a_terminal_there_is_a_line_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    run(lambda bar, second: bar.show(second * 25), 1_000)
    assert screen.getvalue().splitlines() == [
        " 25%  250 of 1,000 entries, 25/s, 30 s left",
        " 50%  500 of 1,000 entries, 25/s, 20 s left",
    ]
