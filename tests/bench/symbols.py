"""What a close costs with few symbols and with many."""

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from tests.bench.clocks import in_turns, ratio
from tests.bench.report import Row
from tests.bench.rig import Run, rig

SYMBOLS: Final = (30, 600, 10_000)
BATCHES: Final = (30, 500)
CLOSES: Final = 6_000
TURNS: Final = 5


def symbols(quick: bool) -> list[Row]:
    """CPU per close, of worker and Redis together, by number of symbols and entries per commit;
    every close is emitted. x: compared with 30 symbols and equal batches. In a batch of 30, every
    close has a different symbol, whatever their number; in a batch of 500, 30 symbols have 17
    closes each, which share the writing of window and state.
    """
    numbers, closes, turns = (SYMBOLS[:1], 300, 1) if quick else (SYMBOLS, CLOSES, TURNS)
    with ExitStack() as stack:
        ways: dict[str, Callable[[], Run]] = {}
        for batch in BATCHES:
            for number in numbers:
                one = stack.enter_context(rig(number, batch=batch))
                one.run(number)  # a symbol's first close has extra costs
                ways[f"{batch} {number}"] = partial(one.run, closes)
        found = in_turns(ways, turns)
    return [
        _row(batch, number, found[f"{batch} {number}"], found[f"{batch} {SYMBOLS[0]}"])
        for batch in BATCHES
        for number in numbers
    ]


def _row(batch: int, number: int, runs: list[Run], few: list[Run]) -> Row:
    costs_us = [run.reader_us + run.redis_us for run in runs]
    return {
        "batch": batch,
        "symbols": number,
        "cpu_us_per_close": statistics.median(costs_us),
        "x_30_symbols": ratio(costs_us, [run.reader_us + run.redis_us for run in few]),
        "worker_cpu_us": statistics.median(run.reader_us for run in runs),
        "redis_cpu_us": statistics.median(run.redis_us for run in runs),
    }
