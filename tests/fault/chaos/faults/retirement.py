"""Symbols fall silent, are retired, and come back.

Their candles are old by Redis's clock, and those of the feeder are not: only these may retire. They
come back after a gap of MARKETSTATE_RETIRE_AFTER or more, so their windows start over, whether they
have been retired by then or not.
"""

import json
import random
from typing import Final

from tests.fault.chaos.entries import MINUTE_MS, new_candle
from tests.fault.chaos.notes import Command
from tests.fault.chaos.stage import Stage, Steps, until_or

RETIRE_AFTER: Final = "1h"
RETIRE_AFTER_MS: Final = 3_600_000
A_DAY_MS: Final = 86_400_000
TIME_TO_RETIRE_S: Final = 4.0
MOST_SYMBOLS: Final = 3


def symbols_retire(stage: Stage, rng: random.Random) -> Steps:
    symbols = [stage.new_symbol("SLEEPER") for _ in range(rng.randint(1, MOST_SYMBOLS))]
    at_ms = stage.feeder.first_close_ms - 3 * A_DAY_MS
    retired = False
    for _ in range(rng.randint(2, 3)):
        length = rng.randint(15, 30)
        stage.note(f"{length} candles of {symbols}, who then fall silent")
        times_ms = [at_ms + MINUTE_MS * i for i in range(length)]
        stage.act(_candles(symbols, times_ms, rng), what="sleeps", sleepers=symbols)
        if rng.random() < 0.7:
            retired |= yield from until_or(lambda: _are_gone(stage, symbols), TIME_TO_RETIRE_S)
        at_ms = times_ms[-1] + RETIRE_AFTER_MS + rng.choice([0, 1, MINUTE_MS, RETIRE_AFTER_MS])
    return retired


def _candles(symbols: list[str], times_ms: list[int], rng: random.Random) -> list[Command]:
    return [
        (
            "EXTRA",
            "payload",
            json.dumps(new_candle(symbol, at_ms, rng.randint(9_000, 11_000) / 100)),
        )
        for at_ms in times_ms
        for symbol in symbols
    ]


def _are_gone(stage: Stage, symbols: list[str]) -> bool:
    """Once all their candles are finished: before, there are no windows either."""
    if stage.group()["pending"] or not stage.everything_is_read():
        return False
    return not stage.servers.master.command(
        "EXISTS", *(f"{stage.names.window_prefix}{s}" for s in symbols)
    )
