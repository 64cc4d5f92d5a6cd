"""What somebody who watches takes from a worker: the live page's server, a page, its metrics."""

import math
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.clocks import cpu_s, in_turns, ratio
from tests.bench.report import Row
from tests.bench.rig import Rig, Run, rig
from tests.support.page_server import Page, PageServer

SYMBOLS: Final = 600
CLOSES: Final = 100 * SYMBOLS
TURNS: Final = 6
SCRAPE_AFTER_S: Final = 0.5
A_WHILE_S: Final = 0.5
AT_REST: Final = 0.05
"""Of a core."""


class Turn(NamedTuple):
    run: Run
    server_cpu_s: float


def watched(quick: bool) -> list[Row]:
    """Closes per second of a worker that catches up with 600 symbols, every close emitted: alone,
    and with `marketstate serve`, one open page, and one reading of /metrics in each turn.
    """
    closes, turns = (SYMBOLS, 1) if quick else (CLOSES, TURNS)
    with rig(SYMBOLS) as one:
        ways = {"nobody": partial(_alone, one, closes), "a page": partial(_watched, one, closes)}
        found = in_turns(ways, turns)
    alone = [turn.run.closes_per_s for turn in found["nobody"]]
    return [_row(name, turns, alone) for name, turns in found.items()]


def _row(name: str, turns: list[Turn], alone: list[float]) -> Row:
    closes_per_s = [turn.run.closes_per_s for turn in turns]
    server_share = [turn.server_cpu_s / turn.run.elapsed_s for turn in turns]
    return {
        "watched_by": name,
        "closes_per_s": statistics.median(closes_per_s),
        "x_nobody": ratio(closes_per_s, alone),
        "reader_cpu_us": statistics.median(turn.run.reader_us for turn in turns),
        "redis_cpu_us": statistics.median(turn.run.redis_us for turn in turns),
        "server_cpu_percent": statistics.median(server_share) * 100,
    }


def _alone(one: Rig, closes: int) -> Turn:
    return Turn(one.run(closes), 0.0)


def _watched(one: Rig, closes: int) -> Turn:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(PageServer(one.server.port, folder))
        page = Page(server)
        page.next("all")
        reader = threading.Thread(target=_read_on, args=[page])
        reader.start()
        server.ask("/metrics")
        _until_at_rest(server)
        scrape = threading.Timer(SCRAPE_AFTER_S, server.ask, ["/metrics"])
        before_s = cpu_s(server.process.pid)
        scrape.start()
        run = one.run(closes)
        scrape.join()
        spent_s = cpu_s(server.process.pid) - before_s
        server.terminate()
        reader.join()
        page.close()
    return Turn(run, spent_s)


def _until_at_rest(server: PageServer) -> None:
    """What a server does once, at its start, is not what watching costs."""
    spent_s = math.inf
    while spent_s > AT_REST * A_WHILE_S:
        before_s = cpu_s(server.process.pid)
        time.sleep(A_WHILE_S)
        spent_s = cpu_s(server.process.pid) - before_s


def _read_on(page: Page) -> None:
    """Until the server ends."""
    with suppress(OSError):
        for _ in page.events:
            pass
