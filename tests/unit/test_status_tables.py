"""How `marketstate status` uses its screen."""

from itertools import count
from typing import Any

import msgspec
import pytest

from marketstate.worker.commands.status_tables import fitted, ranges, tables
from marketstate.worker.commands.terminal_size import Size
from marketstate.worker.engine.freshness import SymbolStatus
from marketstate.worker.engine.status import ShardStatus, Status, WorkerStatus
from marketstate.worker.engine.status_of_all import PartitionStatus

COUNTERS = dict(
    zip(
        ("applied", "emitted", "unclosed", "ignored", "duplicate", "revised", "dead", "gaps"),
        count(123_456),
        strict=False,
    )
)


def status(n_shards: int, n_workers: int, n_symbols: int, **changes: Any) -> Status:
    ids = [f"a-machine-with-a-name-{i}" for i in range(n_workers)]
    fields: dict[str, Any] = {
        "group": "marketstate",
        "stream": "quantum:stream:market.klines",
        "lag": 77,
        "lag_at_least": False,
        "pending": 5,
        "oldest_unfinished_s": 3.0,
        "shards": [
            ShardStatus(i, ids[i % n_workers] if n_workers else None, 1, 7.5 + i / 10, 0, 2)
            for i in range(n_shards)
        ],
        "workers": [
            WorkerStatus(ids[i], list(range(i, n_shards, n_workers)), 0.5) for i in range(n_workers)
        ],
        "counters": COUNTERS,
        "broken_commits": [],
        "symbols": [
            SymbolStatus(f"SYM{i:03d}USDT", 1_746_373_259_999, 3.0) for i in range(n_symbols)
        ],
        "quarantine": {},
        "quarantine_hidden": "",
    }
    return Status(**fields | changes)


def text(lines: list[str]) -> str:
    return "\n".join(lines)


BAD = {f"BAD{i:03d}": "its window holds a NaN; repair it as README says " * 3 for i in range(50)}
STATES = [
    status(16, 1, 5),
    status(16, 0, 0),
    status(256, 32, 600),
    status(16, 2, 600, other_programs=["another program writes our hashes: " + "a, b, c " * 20]),
    status(16, 2, 600, workers=[WorkerStatus("w" * 100, [*range(0, 256, 2)], 0.5)]),
    status(16, 2, 600, quarantine=BAD),
]


@pytest.mark.parametrize("size", [Size(80, 24), Size(120, 40), Size(200, 60)])
@pytest.mark.parametrize("with_shards", [False, True])
@pytest.mark.parametrize("number", range(len(STATES)))
def test_a_watched_status_fits_and_the_backlog_is_at_the_top(
    number: int, with_shards: bool, size: Size
) -> None:
    lines = tables(STATES[number], size, with_shards=with_shards)
    lines = fitted(lines, size.lines - 1)
    assert len(lines) < size.lines
    assert max(map(len, lines)) <= size.columns
    assert lines[1] == "lag 77  pending 5  oldest unfinished 3s"


@pytest.mark.parametrize("number", range(5))
def test_nothing_but_symbols_and_workers_is_cut_at_80x24(number: int) -> None:
    lines = tables(STATES[number], Size(80, 24), with_shards=False)
    assert len(lines) < 24
    workers = "worker " if STATES[number].workers else "no workers"
    for wanted in ("shards  ", "counters  applied 123456", "gaps 123463", workers, "symbol"):
        assert wanted in text(lines), lines


def test_more_lines_show_more_symbols_and_the_line_says_how_many_are_left() -> None:
    one = status(16, 1, 600)
    for size in (Size(80, 24), Size(80, 60)):
        lines = tables(one, size, with_shards=False)
        assert len(lines) == size.lines - 1
        shown = sum(line.startswith("SYM") for line in lines)
        assert lines[-1] == f"... and {600 - shown} fresher ones; --json shows all"
    lines = tables(one, Size(80, 24), with_shards=False, above=3)
    assert len(lines) == 20


def test_shards_are_a_line_unless_asked_for() -> None:
    lines = tables(status(16, 1, 5), None, with_shards=False)
    assert lines[3] == "shards  16 of 16 held, leases left 7.5-9.0 s, symbols 32"
    shards = status(16, 0, 5).shards
    some = [ShardStatus(i, "one", 1, 5.0, 0, 0) if i < 3 else shards[i] for i in range(16)]
    partly = msgspec.structs.replace(status(16, 0, 5), shards=some)
    lines = tables(partly, None, with_shards=False)
    assert lines[3] == "shards  3 of 16 held, not held: 3-15, leases left 5.0-5.0 s, symbols 26"
    lines = tables(status(16, 1, 5), None, with_shards=True)
    assert lines[3].split() == ["shard", "holder", "epoch", "lease", "left", "pending", "symbols"]
    assert lines[19].startswith("15 ")


def test_a_group_without_workers_is_told_in_words() -> None:
    """The names of a table without rows were shown, as after each replay."""
    lines = tables(status(16, 0, 5), None, with_shards=False)
    assert "no workers" in lines
    assert not any(line.startswith("worker ") for line in lines)


def test_a_screen_that_is_too_small_says_what_is_left_out() -> None:
    lines = tables(status(16, 2, 5), Size(80, 24), with_shards=True)
    assert fitted(lines, 23)[-1] == (
        f"... and {len(lines) - 22} more lines; a taller terminal shows them"
    )


def test_numbers_in_a_row_are_a_range() -> None:
    assert ranges([3, 1, 2, 0, 7, 9, 10]) == "0-3,7,9-10"
    assert ranges([]) == ""


def partition(i: int, **changes: Any) -> PartitionStatus:
    fields: dict[str, Any] = {
        "partition": f"{{p{i:02d}}}",
        "stream": f"quantum:stream:market.klines:{{p{i:02d}}}",
        "lag": 0,
        "lag_at_least": False,
        "pending": 0,
        "oldest_unfinished_s": 0.0,
        "shards": 16,
        "held": 16,
        "workers": 2,
        "symbols": 10,
        "set_aside": 0,
        "broken_commits": 0,
        "trouble": "",
    }
    return PartitionStatus(**fields | changes)


def test_partitions_are_a_line_unless_one_needs_a_look_or_all_are_asked_for() -> None:
    one, size = status(16, 2, 600), Size(80, 24)
    well = [partition(i) for i in range(64)]
    lines = tables(one, size, with_shards=False, partitions=well)
    assert lines[2] == "partitions  64"
    ill = [partition(i, held=0, set_aside=2, pending=i) for i in range(64)]
    ill[5] = partition(5, trouble="Redis at 10.0.0.5:7000 cannot be reached: " + 20 * "no route ")
    lines = tables(one, size, with_shards=False, partitions=ill)
    assert lines[2].startswith("partitions  64, 1 of them cannot be read, most unfinished in {p63}")
    assert lines[3].startswith("  {p05} cannot be read: Redis at 10.0.0.5:7000 cannot be reached")
    assert "  {p00} 0 of 16 shards held, set aside: 2" in lines
    assert "61 more; --partitions shows all" in text(lines)
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    lines = tables(one, size, with_shards=False, partitions=ill, each_partition=True)
    assert [line[:5] for line in lines if line[:2] == "{p"] == [each.partition for each in ill]
