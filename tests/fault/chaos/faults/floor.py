"""A consumer is deleted before its shard has finished anything.

The group was created at the end of a stream that had entries (MARKETSTATE_START=new). Its start is
the floor of every recovery: what was there before is not for this group.
"""

import json
import random

from tests.fault.chaos.entries import new_candle
from tests.fault.chaos.names import GROUP, UNTOUCHED_SHARD, consumer_of
from tests.fault.chaos.stage import Stage, Steps, until_or

CONSUMER = consumer_of(UNTOUCHED_SHARD)
TRIES = 5
CANDLES_BEFORE = 30


def feed_before_the_group(stage: Stage) -> None:
    """Enough candles of these symbols for states, if they were read."""
    times_ms = range(CANDLES_BEFORE)
    commands = [
        (
            "EXTRA",
            "payload",
            json.dumps(new_candle(symbol, stage.feeder.first_close_ms + 60_000 * i)),
        )
        for i in times_ms
        for symbol in stage.names.untouched()
    ]
    stage.act(commands)


def consumer_deleted_at_once(stage: Stage, rng: random.Random) -> Steps:
    """While its holder is paused, so that it has been handed an entry and has not finished it."""
    master = stage.servers.master
    for attempt in range(TRIES):
        token = master.command("GET", stage.names.lease(UNTOUCHED_SHARD)) or b""
        holder = next(
            (w for w in stage.processes.able() if token.startswith(f"{w.name}:".encode())), None
        )
        if holder is None or len(stage.processes.able()) < 2:
            yield 0.2
            continue
        stage.processes.pause(holder)
        at_ms = stage.feeder.first_close_ms + 60_000 * (CANDLES_BEFORE + attempt)
        candle = json.dumps(new_candle(rng.choice(stage.names.untouched()), at_ms))
        stage.act([("EXTRA", "payload", candle)])
        yield from until_or(lambda: _pending(stage) > 0, 1.0)
        is_first = not master.command("HEXISTS", stage.names.finished_ids, CONSUMER)
        pending = master.command("XGROUP", "DELCONSUMER", stage.names.input, GROUP, CONSUMER)
        stage.note(f"{CONSUMER}, which has finished nothing, deleted with {pending} entries")
        if holder in stage.processes.workers:
            stage.processes.resume(holder)
        return bool(pending and is_first)
    return False


def _pending(stage: Stage) -> int:
    with stage.client() as client:
        consumers = client.xinfo_consumers(stage.names.input, GROUP)
    return sum(one["pending"] for one in consumers if one["name"] == CONSUMER.encode())
