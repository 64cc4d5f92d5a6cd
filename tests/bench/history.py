"""Candle files to Parquet without Redis, beside the same files through a replay."""

import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketstate.core.state import MarketState
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.clocks import in_turns, ratio
from tests.bench.report import Row
from tests.support.candles import NEEDED, candle
from tests.support.processes import MARKETSTATE, environment
from tests.support.replaying import binance_row

SYMBOLS: Final = 4
CLOSES: Final = 25_000
TURNS: Final = 3
AT_ONCE: Final = 1_000
CALCULATION: Final = "the calculation alone"

_numbers = count()


class Took(NamedTuple):
    """For one close."""

    wall_us: float
    cpu_us: float
    """Of all processes except Redis."""


def history(quick: bool) -> list[Row]:
    """Closes per second from candle files of 4 symbols to Parquet, every close emitted; beside a
    replay of the same files, and the calculation of as many states. x: how its rate, by CPU time,
    compares with that of the calculation. The start of Python is left out.
    """
    closes, turns = (300, 1) if quick else (CLOSES, TURNS)
    with tempfile.TemporaryDirectory() as temporary, EmbeddedRedis() as server:
        folder = Path(temporary)
        files, few = _written(folder / "files", closes), _written(folder / "few", NEEDED)
        commands: dict[str, Callable[[Path], list[object]]] = {
            f"history, {n} processes": partial(_history, folder, n) for n in (1, 2)
        } | {"replay with 1 worker": _replay}
        ways: dict[str, Callable[[], Took]] = {CALCULATION: partial(_calculated, closes)}
        for name, make in commands.items():
            ways[name] = partial(_took, server, make, files, few, SYMBOLS * (closes - NEEDED))
        found = in_turns(ways, turns)
    calculation = [took.cpu_us for took in found[CALCULATION]]
    return [
        {
            "way": name,
            "closes_per_s": 1e6 / statistics.median(took.wall_us for took in some),
            "cpu_us": statistics.median(took.cpu_us for took in some),
            "x_calculation": ratio(calculation, [took.cpu_us for took in some]),
        }
        for name, some in found.items()
    ]


def _written(folder: Path, closes: int) -> Path:
    folder.mkdir()
    for symbol in range(SYMBOLS):
        rows = (
            binance_row(candle(f"SYM{symbol}USDT", i, float(close)))
            for i, close in enumerate(_walk(symbol, closes))
        )
        (folder / f"SYM{symbol}USDT-1m.csv").write_text("".join(rows))
    return folder


def _walk(seed: int, closes: int) -> NDArray[np.float64]:
    steps = np.random.RandomState(seed).standard_normal(closes) * 0.0004
    return np.round(100 * np.exp(np.cumsum(steps)), 2)


def _calculated(closes: int) -> Took:
    windows = np.lib.stride_tricks.sliding_window_view(_walk(0, closes), NEEDED)
    calculate = MarketState().rows
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    for first in range(0, len(windows), AT_ONCE):
        calculate(np.ascontiguousarray(windows[first : first + AT_ONCE]))
    wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    return Took(1e6 * wall_s / len(windows), 1e6 * cpu_s / len(windows))


def _history(folder: Path, processes: int, files: Path) -> list[object]:
    out = folder / f"{next(_numbers)}.parquet"
    return ["history", files, "--out", out, "--every-close", "--processes", processes]


def _replay(files: Path) -> list[object]:
    return ["replay", files, "--namespace", f"n{next(_numbers)}", "--workers", 1, "--clean"]


def _took(
    server: EmbeddedRedis,
    make: Callable[[Path], list[object]],
    files: Path,
    few: Path,
    more: int,
) -> Took:
    """What each of `more` closes costs, which `files` have more than the few."""
    (few_s, few_cpu_s), (all_s, all_cpu_s) = (_run(server, make(each)) for each in (few, files))
    # With the few closes of --quick, it may seem to be nothing.
    return Took(
        1e6 * max(all_s - few_s, 1e-6) / more, 1e6 * max(all_cpu_s - few_cpu_s, 1e-6) / more
    )


def _run(server: EmbeddedRedis, command: list[object]) -> tuple[float, float]:
    """Seconds, and seconds of CPU."""
    settings = environment(redis_port=server.port, publish_interval=1)
    began_s, began_cpu_s = time.monotonic(), _cpu_of_children_s()
    subprocess.run(
        [*MARKETSTATE, *map(str, command)], env=settings, check=True, capture_output=True
    )
    return time.monotonic() - began_s, _cpu_of_children_s() - began_cpu_s


def _cpu_of_children_s() -> float:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
