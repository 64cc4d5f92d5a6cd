"""A run of pytest by another Python or on another server: what it gets, and what it has counted."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from tests.bench.report import Row


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our own words, and those after --, which go to pytest."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def name_tests(given: list[str]) -> bool:
    """Whether words for pytest say what to run."""
    return any(Path(word.partition("::")[0]).exists() for word in given)


def run(python: Path, report: Path, *words: object) -> Row:
    """With its counts; the report is that of JUnit."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    # No cache: what one run remembers must not change the next.
    quiet = ("-p", "no:cacheprovider", "--quiet", "--numprocesses", "2", "--junit-xml", report)
    command = [str(word) for word in (python, "-m", "pytest", *quiet, *words)]
    subprocess.run(command, check=False)
    return counts(report)


def counts(report: Path) -> Row:
    """A run that wrote no report, or ran no test, has failed."""
    suite = ElementTree.parse(report).find("testsuite") if report.exists() else None
    if suite is None or suite.get("tests") == "0":
        return {"failed": 1}
    tests, failures, errors, skipped = (
        int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return {
        "passed": tests - failed - skipped,
        "failed": failed,
        "skipped": skipped,
        "seconds": round(float(suite.get("time", "0"))),
    }


def exit_with(main: Callable[[], int]) -> None:
    # Exit normally, so that pytest ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
