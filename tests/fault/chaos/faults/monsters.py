"""A stream of monsters: entries that nobody should write, and somebody will."""

import random

from tests.fault.chaos.entries import new_candle, symbols_of
from tests.fault.chaos.menagerie import MONSTERS
from tests.fault.chaos.notes import Command
from tests.fault.chaos.stage import Stage, Steps, until_or

MOST = 40


def monsters_fed(stage: Stage, rng: random.Random) -> Steps:
    commands: list[Command] = []
    symbols = symbols_of(stage.names)
    for _ in range(rng.randint(5, MOST)):
        # Older than all candles of the symbol, so that one that is taken for a candle is late.
        candle = new_candle(rng.choice(symbols), stage.feeder.first_close_ms - 60_000)
        fields = rng.choice(MONSTERS)(candle)
        commands.append(("EXTRA", *(part for pair in fields.items() for part in pair)))
    stage.note(f"{len(commands)} monsters are fed")
    stage.act(commands)
    return (yield from until_or(stage.everything_is_read))
