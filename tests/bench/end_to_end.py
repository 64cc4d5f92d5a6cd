"""One worker from the stream to the commit, compared with a loop that does the minimum."""

import statistics
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, NamedTuple

from tests.bench.clocks import in_turns, ratio
from tests.bench.report import Row
from tests.bench.rig import BareLoop, Run, WithoutCalculation, rig
from tests.support.worker_process import WorkerProcess

SYMBOLS: Final = 100
CLOSES: Final = 15_000
TURNS: Final = 4
ONCE_AN_HOUR: Final = {"publish_interval": 3_600}


class Way(NamedTuple):
    name: str
    reader: type[WorkerProcess]
    settings: dict[str, Any]


WAYS: Final = (
    Way("bare redis-py loop: read, decode, acknowledge", BareLoop, {}),
    Way("every close emitted", WorkerProcess, {}),
    Way("every close emitted, no line in the log", WorkerProcess, {"log_level": "WARNING"}),
    Way("every close emitted, without the calculation", WithoutCalculation, {}),
    Way("one in 60 emitted", WorkerProcess, ONCE_AN_HOUR),
    Way(
        "one in 60 emitted, a state on each close",
        WorkerProcess,
        ONCE_AN_HOUR | {"emit_on_regime_change": "true"},
    ),
    Way("one in 60 emitted, without the calculation", WithoutCalculation, ONCE_AN_HOUR),
)


def end_to_end(quick: bool) -> list[Row]:
    """Closes per second of one worker, and CPU per close: candles of 100 symbols wait in the
    stream; a real worker runs on one core, a real Redis on another.
    """
    closes, turns = (500, 1) if quick else (CLOSES, TURNS)
    with ExitStack() as stack:
        rigs = {
            way.name: stack.enter_context(rig(SYMBOLS, way.reader, **way.settings)) for way in WAYS
        }
        found = in_turns({name: partial(one.run, closes) for name, one in rigs.items()}, turns)
    bare = [run.closes_per_s for run in found[WAYS[0].name]]
    return [_row(name, runs, bare) for name, runs in found.items()]


def _row(name: str, runs: list[Run], bare: list[float]) -> Row:
    return {
        "one_reader": name,
        "closes_per_s": statistics.median(run.closes_per_s for run in runs),
        "x_bare_loop": ratio([run.closes_per_s for run in runs], bare),
        "reader_cpu_us": statistics.median(run.reader_us for run in runs),
        "redis_cpu_us": statistics.median(run.redis_us for run in runs),
    }
