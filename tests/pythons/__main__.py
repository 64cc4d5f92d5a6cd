"""`scripts/test-pythons`: a part of the tests on each Python that can be had."""

import os
import sys
from pathlib import Path
from typing import Final

from tests.bench.report import Row, table
from tests.pythons.environments import build_without_compiler, environment, way, wheel
from tests.pythons.found import FOLDER, Python, listed, program_of, version_of
from tests.pythons.options import parser
from tests.servers.debian import NotHad
from tests.servers.runs import exit_with, name_tests, run, split

DONE, FAILED = 0, 1
TESTS: Final = {
    "compiled": (
        *("tests/unit", "tests/golden", "tests/property/test_core_bits.py"),
        *("tests/integration/test_published.py", "tests/integration/test_examples.py"),
    ),
    "not compiled": (
        *("tests/unit/test_state.py", "tests/golden", "tests/property/test_core_bits.py"),
        "tests/integration/test_published.py",
    ),
}
RESULTS: Final = FOLDER / "results"


def main() -> int:
    words, given = split(sys.argv[1:])
    options = parser().parse_args(words)
    known = {python.name: python for python in listed()}
    if options.list:
        print("\n".join(known))
        return DONE
    for name in options.names:
        if name not in known and not os.access(name, os.X_OK):
            parser().error(f"there is no {name!r}; there are {', '.join(known)}")
    built = wheel()
    rows = [
        row
        for name in options.names or known
        for row in rows_of(known.get(name) or Path(name), built, given)
    ]
    print(f"\n{table(rows)}")
    return FAILED if any(row.get("failed") for row in rows) else DONE


def rows_of(wanted: Python | Path, built: Path, given: list[str]) -> list[Row]:
    """One row for each way to install: a name of the list, or a program."""
    name = wanted.name if isinstance(wanted, Python) else f"at{str(wanted).replace('/', '-')}"
    print(f"\n{name}", flush=True)
    rows: list[Row] = []
    try:
        program = program_of(wanted) if isinstance(wanted, Python) else wanted
        version = version_of(program)
        print(f"Python {version}", flush=True)
        python = environment(program, name, built)
        rows.append(_tested(python, name, version, "compiled", given))
        build_without_compiler(python)
        rows.append(_tested(python, name, version, "not compiled", given))
    except NotHad as reason:
        print(f"cannot be had here: {reason}", flush=True)
        rows.append({"name": name, "version": "cannot be had here"})
    return rows


def _tested(python: Path, name: str, version: str, expected: str, given: list[str]) -> Row:
    found = way(python)
    row: Row = {"name": name, "version": version, "kernel": found}
    if found != expected:
        print(f"the kernel is {found}; it should be {expected}", flush=True)
        return row | {"failed": 1}
    tests = () if name_tests(given) else TESTS[expected]
    return row | run(python, RESULTS / f"{name} {found}.xml", *tests, *given)


if __name__ == "__main__":
    exit_with(main)
