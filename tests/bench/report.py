"""What a bench returns, how it is printed, and a description of the machine."""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path

from marketstate.core import kernel
from marketstate.worker.local.redis_server import installed_server, packaged_server

Row = dict[str, str | float]
"""Column -> value; the unit is in the column's name."""


def table(rows: Sequence[Row], ratios: Sequence[Row] = ()) -> str:
    """Aligned columns, with numbers to the right; a missing value is a dash. With `ratios`, for
    each row those to the figures of an earlier run, in brackets.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[column.replace("_", " ") for column in columns]]
    cells += [
        [_shown(row.get(column, "-")) + _in_brackets(row, beside, column) for column in columns]
        for row, beside in zip_longest(rows, ratios)
    ]
    is_text = [any(isinstance(row.get(column), str) for row in rows) for column in columns]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_line(line, widths, is_text) for line in cells)


def _in_brackets(row: Row, ratios: Row | None, column: str) -> str:
    if ratios is None or not isinstance(row.get(column), float):
        return ""
    return f" ({ratios[column]:.2f})" if column in ratios else " (-)"


def _line(cells: Iterable[str], widths: Iterable[int], is_text: Iterable[bool]) -> str:
    return "  ".join(
        cell.ljust(width) if text else cell.rjust(width)
        for cell, width, text in zip(cells, widths, is_text, strict=True)
    ).rstrip()


def _shown(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.4f}"


def machine() -> Row:
    """What the results depend on."""
    server = installed_server() or packaged_server()
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("numpy", "scipy", "msgspec", "redis", "hiredis")},
        "redis_server": _output(str(server), "--version").partition(" sha=")[0]
        if server
        else "none",
        "kernel": "compiled" if kernel.is_compiled() else "numpy only",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
