"""How progress is shown: a bar on a terminal, otherwise a few lines."""

import io
import sys

import pytest

from worker.commands.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", screen)
    now_s = 0.0
    progress = ProgressBar(1_000, "entries", lambda: now_s)
    for second in range(21):
        now_s = float(second)
        progress.show(second * 25)
    progress.end()
    return screen.getvalue()


def test_a_terminal_has_a_bar_with_share_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown(Terminal(), monkeypatch)
    last = text.rstrip("\n").split("\r")[-1].rstrip()
    assert last == f"[{'#' * 15}{'.' * 15}]  50%  500 of 1,000 entries, 25/s, 20 s left"
    assert (text.count("\r"), text[-1]) == (20, "\n")


def test_without_a_terminal_there_is_a_line_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown(io.StringIO(), monkeypatch)
    assert text.splitlines() == [
        " 25%  250 of 1,000 entries, 25/s, 30 s left",
        " 50%  500 of 1,000 entries, 25/s, 20 s left",
    ]
