"""The outcome of `marketstate verify` as metrics: each of its checks, and when it ran."""

import time
from collections.abc import Iterable
from pathlib import Path

from marketstate.worker.commands.metrics.families import Families
from marketstate.worker.commands.metrics.metric import gauge
from marketstate.worker.commands.metrics.textfile import replace
from marketstate.worker.engine.preflight import Finding


def write_outcome(path: Path, findings: Iterable[Finding]) -> None:
    """Raises FileUnusable."""
    replace(path, outcome(findings, time.time()))


def outcome(findings: Iterable[Finding], ended_s: float) -> Families:
    """What cannot be judged is left out. The check `verify` is the run itself."""
    succeeded = {"verify": True}
    for finding in findings:
        if finding.verdict != "skip":
            check = finding.checked.lower()
            succeeded[check] = succeeded.get(check, True) and finding.verdict != "FAIL"
    checks = [({"check": check}, good) for check, good in sorted(succeeded.items())]
    return Families(
        [
            gauge("verify_success", "Whether nothing failed in a check of the last run.", checks),
            gauge(
                "verify_last_run_timestamp_seconds",
                "When marketstate verify ended last.",
                [({}, ended_s)],
            ),
        ]
    )
