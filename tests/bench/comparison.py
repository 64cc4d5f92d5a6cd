"""A run beside an earlier one: which figure belongs to which, and what has none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.report import Row

Cell = str | int | float


class Bench(msgspec.Struct):
    rows: list[dict[str, Cell]]


class Earlier(msgspec.Struct):
    """What `scripts/bench` has written."""

    quick: bool
    machine: dict[str, Cell]
    benches: dict[str, Bench]

    def rows(self, bench: str) -> list[dict[str, Cell]]:
        return self.benches[bench].rows if bench in self.benches else []


class NotAReport(Exception):
    """The file cannot be read, or is not from `scripts/bench`."""


def read_report(path: Path) -> Earlier:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Earlier)
    except (OSError, msgspec.DecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotAReport(f"{path}: {reason}; give a file that scripts/bench wrote") from error


def name_of(row: Row) -> str:
    """What tells a row from the others of its bench: texts and whole numbers. Figures never are."""
    named = (
        f"{column.replace('_', ' ')} {value}"
        for column, value in row.items()
        if not isinstance(value, float)
    )
    return ", ".join(named)


def ratios(rows: list[Row], earlier: list[Row]) -> list[Row]:
    """For each row, each figure divided by the earlier one; those that have none are left out."""
    before = {name_of(row): row for row in earlier}
    return [_ratios(row, before.get(name_of(row), {})) for row in rows]


def _ratios(row: Row, before: Row) -> Row:
    return {
        column: value / earlier
        for column, value in row.items()
        if isinstance(value, float)
        and isinstance(earlier := before.get(column), float)
        and earlier != 0.0
    }


def missing(rows: list[Row], earlier: list[Row]) -> Iterator[str]:
    """The rows that only one of the two runs has, in words."""
    here, there = [name_of(row) for row in rows], [name_of(row) for row in earlier]
    yield from (f"only here: {name}" for name in here if name not in there)
    yield from (f"only there: {name}" for name in there if name not in here)


def other_conditions(machine: dict[str, Any], quick: bool, earlier: Earlier) -> Iterator[str]:
    """What was different there, in words."""
    here, there = machine | {"quick": quick}, earlier.machine | {"quick": earlier.quick}
    for name, value in here.items():
        if value != there.get(name):
            yield f"{name}: here {value}, there {there.get(name, 'unknown')}"
