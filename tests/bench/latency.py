"""How long an output takes, from XADD until a reader can read it."""

import json
import time
from typing import Any, Final, NamedTuple

import numpy as np

from marketstate.schemas.entry_id import entry_time_ms
from tests.bench.report import Row
from tests.bench.rig import Rig, rig
from tests.support.processes import PATIENCE_S
from tests.support.worker_process import INPUT, OUTPUT

SYMBOLS: Final = 600
BURSTS: Final = 20
SINGLES: Final = 200


class Seen(NamedTuple):
    outputs: int
    time_s: float


def latency(quick: bool) -> list[Row]:
    """From XADD to the output entry: for single closes, for a minute's burst of 600 symbols from
    its last input to its last output, and for each close of such bursts. Measured by one client
    that writes and waits.
    """
    bursts, singles = (1, 10) if quick else (BURSTS, SINGLES)
    # The output stream is never trimmed, so that its length counts the outputs.
    with rig(SYMBOLS, output_maxlen=10**9) as one:
        _burst_s(one, SYMBOLS)  # a worker's first batches are small
        found_s = [_burst_s(one, SYMBOLS) for _ in range(bursts)]
        singles_s = [_burst_s(one, 1) for _ in range(singles)]
    return [
        _row("burst of 600", [last_s for last_s, _ in found_s]),
        _row("each close of a burst", [each_s for _, all_s in found_s for each_s in all_s]),
        _row("single close", [last_s for last_s, _ in singles_s]),
    ]


def _burst_s(one: Rig, closes: int) -> tuple[float, list[float]]:
    """The latency of the burst, and of each of its closes."""
    inputs = one.market.entries(closes)
    before: int = one.client.xlen(OUTPUT)
    one.wait_until_it_waits()
    with one.client.pipeline(transaction=False) as writes:
        for fields in inputs[:-1]:
            writes.xadd(INPUT, fields)
        ids = writes.execute()
    began_s = time.time()
    ids.append(one.client.xadd(INPUT, inputs[-1]))
    seen = _outputs(one, before + closes)
    # Ids have the time of Redis, to the millisecond; its clock is that of this machine.
    written_s = {
        json.loads(fields["payload"])["symbol"].encode(): entry_time_ms(entry_id) / 1_000
        for fields, entry_id in zip(inputs, ids, strict=True)
    }
    outputs: Any = one.client.xrevrange(OUTPUT, count=closes)
    each_s = [
        next(time_s for seen_n, time_s in seen if seen_n >= number) - written_s[fields[b"symbol"]]
        for number, (_, fields) in enumerate(reversed(outputs), before + 1)
    ]
    return seen[-1].time_s - began_s, each_s


def _outputs(one: Rig, wanted: int) -> list[Seen]:
    """The length of the output stream whenever it has grown, until it is `wanted`. The stream is
    neither polled nor read completely, because both would slow down what is measured.
    """
    give_up_s = time.time() + PATIENCE_S
    seen: list[Seen] = []
    while not seen or seen[-1].outputs < wanted:
        assert time.time() < give_up_s, "timed out waiting for an output"
        newest: Any = one.client.xrevrange(OUTPUT, count=1)
        last_id = newest[0][0] if newest else "0"
        outputs: int = one.client.xlen(OUTPUT)
        seen.append(Seen(outputs, time.time()))
        if outputs < wanted:
            one.client.xread({OUTPUT: last_id}, count=1, block=1_000)
    return seen


def _row(name: str, latencies_s: list[float]) -> Row:
    p50_ms, p99_ms, max_ms = np.percentile(np.array(latencies_s) * 1_000, [50, 99, 100]).tolist()
    return {
        "input": name,
        "times": len(latencies_s),
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "max_ms": max_ms,
    }
