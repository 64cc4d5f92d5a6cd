"""What longer intervals cost beside the candle interval, for each of its closes."""

import statistics
from contextlib import ExitStack
from functools import partial
from typing import Final

from tests.bench.clocks import in_turns, ratio
from tests.bench.report import Row
from tests.bench.rig import Run, rig

# As many as a batch has entries, as live: no batch has two candles of a symbol.
SYMBOLS: Final = 500
CLOSES: Final = 60 * SYMBOLS
TURNS: Final = 4
WAYS: Final = {
    "1m": "",
    "1m and 5m": "1m,5m",
    "1m, 5m, 15m, 1h, 4h and 1d": "1m,5m,15m,1h,4h,1d",
}


def intervals(quick: bool) -> list[Row]:
    """CPU per candle of 1m, of a worker and of Redis, with every close of every interval emitted.
    Each turn is an hour of 500 symbols.
    """
    closes, turns = (500, 1) if quick else (CLOSES, TURNS)
    with ExitStack() as stack:
        rigs = {
            name: stack.enter_context(rig(SYMBOLS, intervals=text)) for name, text in WAYS.items()
        }
        found = in_turns({name: partial(one.run, closes) for name, one in rigs.items()}, turns)
    one = found["1m"]
    return [_row(name, runs, one) for name, runs in found.items()]


def _row(name: str, runs: list[Run], one: list[Run]) -> Row:
    return {
        "intervals": name,
        "reader_cpu_us": statistics.median(run.reader_us for run in runs),
        "redis_cpu_us": statistics.median(run.redis_us for run in runs),
        "x_reader_cpu": ratio([run.reader_us for run in runs], [run.reader_us for run in one]),
        "x_redis_cpu": ratio([run.redis_us for run in runs], [run.redis_us for run in one]),
    }
