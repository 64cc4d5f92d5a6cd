"""Another program reads from the group, without a trace (NOACK), and its consumer is deleted.

Such entries are neither pending nor handed to a shard. They are counted as lost, unless a shard
that is restored finds them: each ends in one of the two. Each is the only one of its symbol, so its
window tells which.
"""

import json
import random
from typing import Final

from tests.fault.chaos.entries import new_candle
from tests.fault.chaos.faults.servers import busiest
from tests.fault.chaos.names import GROUP
from tests.fault.chaos.notes import Command
from tests.fault.chaos.stage import Stage, Steps, some_worker, until, until_or

FOREIGN: Final = "somebody"
MOST: Final = 12


def foreign_read(stage: Stage, rng: random.Random) -> Steps:
    """Redis 6.2 cannot tell how many entries were read without a trace, so there all are kept."""
    without_a_trace = stage.servers.master.version[0] != "6" and rng.random() < 0.8
    paused = None
    if rng.random() < 0.7:
        # So that there are entries pending when a consumer is deleted.
        paused = yield from some_worker(stage, rng)
        stage.processes.pause(paused)
        yield 0.3
    stage.feeder.hold()
    yield from until_or(stage.everything_is_read)
    bit = stage.everything_is_read()
    if bit:
        read_and_delete(stage, rng, without_a_trace=without_a_trace)
    stage.feeder.go_on()
    if paused in stage.processes.workers and paused is not None:
        stage.processes.resume(paused)
    if bit and without_a_trace:
        yield from until(lambda: stage.group()["lag"] == 0, "all that was read is accounted for")
    return bit


def read_and_delete(stage: Stage, rng: random.Random, *, without_a_trace: bool) -> None:
    symbols = [stage.new_symbol("TAKEN") for _ in range(rng.randint(1, MOST))]
    entries: list[Command] = [
        ("EXTRA", "payload", json.dumps(new_candle(symbol, stage.feeder.first_close_ms)))
        for symbol in symbols
    ]
    read = ["XREADGROUP", "GROUP", GROUP, FOREIGN, "COUNT", str(len(symbols))]
    read += ["NOACK"] if without_a_trace else []
    commands: list[Command] = [*entries, [*read, "STREAMS", stage.names.input, ">"]]
    deleted = [FOREIGN] if without_a_trace else []
    if rng.random() < 0.5 and (consumer := busiest(stage)) != FOREIGN:
        deleted.append(consumer)
    commands += [
        ("XGROUP", "DELCONSUMER", stage.names.input, GROUP, consumer) for consumer in deleted
    ]
    stage.note(f"{FOREIGN} reads {len(symbols)} entries, and {deleted} are deleted")
    taken = symbols if without_a_trace else []
    stage.act(commands, what="taken", taken=taken)
