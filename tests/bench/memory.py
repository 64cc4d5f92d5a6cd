"""How much memory a worker takes."""

from pathlib import Path
from typing import Final

from tests.bench.report import Row
from tests.bench.rig import rig

SYMBOLS: Final = (30, 600, 10_000)
LEAST_CLOSES: Final = 3_000


def memory(quick: bool) -> list[Row]:
    """Resident memory of a worker with full windows, after at least one close per symbol."""
    rows: list[Row] = []
    for number in SYMBOLS[:1] if quick else SYMBOLS:
        with rig(number) as one:
            one.run(max(number, LEAST_CLOSES))
            status = Path(f"/proc/{one.reader.process.pid}/status").read_text()
        rows.append(
            {
                "symbols": number,
                "resident_mb": _mb(status, "VmRSS"),
                "peak_mb": _mb(status, "VmHWM"),
            }
        )
    return rows


def _mb(status: str, name: str) -> float:
    """Linux's kB are 1,024 bytes."""
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines[name].split()[0]) * 1_024 / 1e6
