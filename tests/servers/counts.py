"""What a run of pytest has counted, from its report."""

from pathlib import Path
from xml.etree import ElementTree

from tests.bench.report import Row


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
