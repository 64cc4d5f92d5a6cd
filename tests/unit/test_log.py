"""Log lines: repeated warnings are summed up, and all of them are counted."""

import ast
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marketstate.worker.log import Repeats, begin_lines_with, configure, log

WORKER = Path(__file__).parents[2] / "worker"


class Lines(logging.Handler):
    """A log with a clock that the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.repeats = Repeats(lambda: self.now_s)
        self._seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._seen.append(f"{record.levelname} {record.getMessage()}")

    def new(self) -> list[str]:
        """Those since the last time."""
        seen, self._seen = self._seen, []
        return seen


@pytest.fixture
def lines() -> Iterator[Lines]:
    before = log.handlers, log.filters, log.propagate, log.level
    lines = Lines()
    log.handlers, log.filters, log.propagate = [lines], [lines.repeats], False
    log.setLevel(logging.INFO)
    yield lines
    log.handlers, log.filters, log.propagate, level = before
    log.setLevel(level)


def warn_of_bad_entries(first: int, count: int) -> None:
    for i in range(first, first + count):
        log.warning("entry %d is bad", i)


def in_full(first: int, count: int) -> list[str]:
    return [f"WARNING entry {i} is bad" for i in range(first, first + count)]


def test_a_flood_of_one_kind_is_a_few_lines_and_then_one_a_minute(lines: Lines) -> None:
    """G5: 20,000 bad entries gave 20,000 lines; in the sums there are as many."""
    warn_of_bad_entries(0, 20_000)
    assert lines.new() == in_full(0, Repeats.FEW)
    lines.now_s += Repeats.MINUTE_S - 1
    lines.repeats.tell()
    assert lines.new() == []
    lines.now_s += 1
    lines.repeats.tell()
    said = "of this kind in the last 60 s, such as: entry 19999 is bad"
    assert lines.new() == [f"WARNING 19,990 more {said}"]
    warn_of_bad_entries(20_000, 5)
    lines.now_s += Repeats.MINUTE_S
    lines.repeats.tell()
    said = "of this kind in the last 60 s, such as: entry 20004 is bad"
    assert lines.new() == [f"WARNING 5 more {said}"]


def test_after_a_quiet_minute_the_first_few_are_shown_again(lines: Lines) -> None:
    warn_of_bad_entries(0, Repeats.FEW)
    lines.now_s += Repeats.MINUTE_S
    warn_of_bad_entries(50, 20)
    assert lines.new() == in_full(0, Repeats.FEW) + in_full(50, Repeats.FEW)
    for expected in (1, 0, 0):
        lines.now_s += Repeats.MINUTE_S
        lines.repeats.tell()
        assert len(lines.new()) == expected
    warn_of_bad_entries(90, 20)
    assert lines.new() == in_full(90, Repeats.FEW)


def test_a_sum_whose_minute_is_over_is_told_with_the_next_warning_of_any_kind(
    lines: Lines,
) -> None:
    warn_of_bad_entries(0, 12)
    lines.new()
    lines.now_s += 90
    log.error("something else")
    assert lines.new() == [
        "WARNING 2 more of this kind in the last 90 s, such as: entry 11 is bad",
        "ERROR something else",
    ]


def test_at_the_end_every_sum_is_told(lines: Lines) -> None:
    warn_of_bad_entries(0, 12)
    for i in range(13):
        log.error("broken %d", i, extra={"kind": "broken"})
    lines.new()
    lines.now_s += 7
    lines.repeats.tell(at_once=True)
    assert lines.new() == [
        "WARNING 2 more of this kind in the last 7 s, such as: entry 11 is bad",
        "ERROR 3 more of this kind in the last 7 s, such as: broken 12",
    ]
    lines.repeats.tell(at_once=True)
    assert lines.new() == []


def test_kinds_are_told_apart_by_name_or_by_the_text_without_its_values(lines: Lines) -> None:
    for i in range(Repeats.FEW):
        log.warning("%s is late", i)
        log.warning("%s is early", i)
        log.warning(f"BTCUSDT: entry {i} is late", extra={"kind": "late"})
    assert len(lines.new()) == 3 * Repeats.FEW
    log.warning("%s is late", 99)
    log.warning("ETHUSDT: entry 99 is late", extra={"kind": "late"})
    assert lines.new() == []


def test_lines_that_are_not_warnings_are_never_summed(lines: Lines) -> None:
    for _ in range(100):
        log.info("a state was published")
    assert len(lines.new()) == 100


def test_how_long_a_sum_can_wait_is_known(lines: Lines) -> None:
    """A worker without work wakes up for it."""
    warn_of_bad_entries(0, Repeats.FEW)
    assert lines.repeats.seconds_to_tell == float("inf")
    warn_of_bad_entries(0, 1)
    lines.now_s += 20
    assert lines.repeats.seconds_to_tell == 40
    lines.now_s += 50
    assert lines.repeats.seconds_to_tell == 0


def in_threads(*actions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_line_of_a_thread_begins_with_its_part_and_a_sum_names_that_of_its_example(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    def loop_of_a_partition() -> None:
        begin_lines_with("p07")
        log.info("a\nb")
        warn_of_bad_entries(0, 12)

    def loop_of_another() -> None:
        begin_lines_with("p03")
        lines.repeats.tell(at_once=True)

    configure("INFO", for_journal=True)
    log.filters = [lines.repeats]
    in_threads(loop_of_a_partition)
    log.info("c")
    in_threads(loop_of_another)
    first, second, *others, last, of_sum = capsys.readouterr().err.splitlines()
    assert (first, second, last) == ("<6>p07 a", "<6>p07 b", "<6>c")
    assert others == [f"<4>p07 entry {i} is bad" for i in range(Repeats.FEW)]
    assert of_sum == ("<4>2 more of this kind in the last 0 s, such as: p07 entry 11 is bad")


def test_threads_share_the_limits(lines: Lines) -> None:
    """G5: with a limit for each, sixteen partitions would be sixteen floods."""
    in_threads(*[lambda: warn_of_bad_entries(0, 500)] * 4)
    lines.repeats.tell(at_once=True)
    *in_full, of_sum = lines.new()
    assert len(in_full) == Repeats.FEW
    assert of_sum.startswith(f"WARNING {4 * 500 - Repeats.FEW:,} more of this kind")


def test_no_warning_of_ours_is_of_every_kind() -> None:
    """`log.warning("%s", text)` would be one kind for all texts."""
    found = [
        f"{path.name}:{node.lineno}"
        for path in WORKER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("log.warning", "log.error")
        if isinstance(node.args[0], ast.Constant) and node.args[0].value == "%s"
    ]
    assert found == []


def test_what_is_told_once_is_not_told_again_and_a_flood_of_it_is_summed_up(lines: Lines) -> None:
    def tell(about: str) -> None:
        log.warning("ignored: %s", about, extra={"kind": "ignored", "once": about})

    for _ in range(3):
        tell("5m")
        lines.now_s += 2 * Repeats.MINUTE_S
    assert lines.new() == ["WARNING ignored: 5m"]
    for number in range(Repeats.MOST_TOLD + Repeats.FEW):
        tell(f"{number} mins")
    assert len(lines.new()) == Repeats.FEW
    assert len(lines.repeats._told) == Repeats.MOST_TOLD, "what is remembered is bounded"
    for _ in range(2):
        log.info("found by the loop of each partition", extra={"once": "found"})
    assert lines.new() == ["INFO found by the loop of each partition"]


def test_the_time_of_a_line_is_utc_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables are in UTC, and the log had the local time of its host."""
    before = log.handlers, log.filters, log.propagate, log.level
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        configure("INFO", for_journal=False)
        record = log.makeRecord(log.name, logging.INFO, __file__, 1, "a\nb", (), None)
        record.created, record.msecs = 1_790_000_000.25, 250.0
        log.handle(record)
    finally:
        log.handlers, log.filters, log.propagate, level = before
        log.setLevel(level)
        monkeypatch.undo()
        time.tzset()
    at = "2026-09-21 14:13:20.250 UTC INFO    "
    assert capsys.readouterr().err == f"{at}a\n{at}b\n"
