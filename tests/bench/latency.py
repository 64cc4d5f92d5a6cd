"""How long an output takes, from XADD until a reader can read it."""

import time
from typing import Any, Final

import numpy as np

from tests.bench.report import Row
from tests.bench.rig import Rig, rig
from tests.support.processes import PATIENCE_S
from tests.support.worker_process import INPUT, OUTPUT, feed_fields

SYMBOLS: Final = 600
BURSTS: Final = 20
SINGLES: Final = 200


def latency(quick: bool) -> list[Row]:
    """From XADD to the output entry: for single closes, and for a minute's burst of 600 symbols
    from its last input to its last output. Measured by one client that writes and waits.
    """
    bursts, singles = (1, 10) if quick else (BURSTS, SINGLES)
    # The output stream is never trimmed, so that its length counts the outputs.
    with rig(SYMBOLS, output_maxlen=10**9) as one:
        _burst_s(one, SYMBOLS)  # a worker's first batches are small
        return [
            _row("burst of 600", [_burst_s(one, SYMBOLS) for _ in range(bursts)]),
            _row("single close", [_burst_s(one, 1) for _ in range(singles)]),
        ]


def _burst_s(one: Rig, closes: int) -> float:
    *others, last = one.market.entries(closes)
    before: int = one.client.xlen(OUTPUT)
    one.wait_until_it_waits()
    feed_fields(one.client, others)
    began_s = time.monotonic()
    one.client.xadd(INPUT, last)
    return _time_of_output(one, before + closes) - began_s


def _time_of_output(one: Rig, wanted: int) -> float:
    """When the output stream has `wanted` entries. It is neither polled nor read completely,
    because both would slow down what is measured.
    """
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        newest: Any = one.client.xrevrange(OUTPUT, count=1)
        if one.client.xlen(OUTPUT) >= wanted:
            return time.monotonic()
        assert time.monotonic() < give_up_s, "timed out waiting for an output"
        one.client.xread({OUTPUT: newest[0][0] if newest else "0"}, count=1, block=1_000)


def _row(name: str, latencies_s: list[float]) -> Row:
    p50_ms, p99_ms, max_ms = np.percentile(np.array(latencies_s) * 1_000, [50, 99, 100]).tolist()
    return {
        "input": name,
        "times": len(latencies_s),
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "max_ms": max_ms,
    }
