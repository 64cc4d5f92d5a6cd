"""One worker, and two other programs that do as much of its work as they can."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Final

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.clocks import cpu_s, in_turns, pin, pinned_ourselves, ratio
from tests.bench.group_loop import GroupLoop
from tests.bench.log_file import log_file
from tests.bench.market import Market
from tests.bench.polling_publisher import fill_caches, publish_all
from tests.bench.published_by_peers import log
from tests.bench.report import Row
from tests.bench.rig import READER_CORE, REDIS_CORE, Run, rig
from tests.support.candles import NEEDED
from tests.support.worker_process import feed_fields

SYMBOLS: Final = 100
CLOSES: Final = 10_000
CLOSES_OF_PEERS: Final = 200
TURNS: Final = 3
WORKER: Final = "this worker"


def peers(quick: bool) -> list[Row]:
    """One state for each close of 100 symbols, with hash, output entry and line in the log: by one
    worker, and by programs with numpy and scipy that neither keep windows in Redis nor publish
    exactly once. x: how many times as much CPU, of reader and Redis together, as the worker.
    """
    symbols, closes, of_peers, turns = (
        (2, 20, 4, 1) if quick else (SYMBOLS, CLOSES, CLOSES_OF_PEERS, TURNS)
    )
    with ExitStack() as stack:
        worker = stack.enter_context(rig(symbols))
        worker.run(symbols)  # a symbol's first close has extra costs
        stack.enter_context(pinned_ourselves(READER_CORE))
        stack.enter_context(log_file(log))
        ways: dict[str, Callable[[], Run]] = {
            WORKER: partial(worker.run, closes),
            "redis-py: XREADGROUP, calculate, write, acknowledge": stack.enter_context(
                _group_loop(symbols, of_peers)
            ),
            "publisher that polls caches of candles": stack.enter_context(
                _polling_publisher(symbols, of_peers)
            ),
        }
        found = in_turns(ways, turns)
    return [_row(name, runs, found[WORKER]) for name, runs in found.items()]


@contextmanager
def _group_loop(symbols: int, closes: int) -> Iterator[Callable[[], Run]]:
    market = Market(symbols)
    with EmbeddedRedis() as server, server.client() as client:
        pin(server.pid, REDIS_CORE)
        with closing(GroupLoop(server.port)) as loop:
            feed_fields(client, market.entries(symbols * (NEEDED - 1)))
            loop.work()

            def run() -> Run:
                feed_fields(client, market.entries(closes))
                return _measured(loop.work, closes, server.pid)

            yield run


@contextmanager
def _polling_publisher(symbols: int, closes: int) -> Iterator[Callable[[], Run]]:
    market = Market(symbols)
    with EmbeddedRedis() as server, server.client() as client:
        pin(server.pid, REDIS_CORE)
        fill_caches(client, market.entries(symbols * NEEDED))

        def rounds() -> None:
            for _ in range(closes // symbols):
                asyncio.run(publish_all(server.port, market.symbols))

        def run() -> Run:
            fill_caches(client, market.entries(symbols))
            return _measured(rounds, closes, server.pid)

        yield run


def _measured(work: Callable[[], None], closes: int, redis_pid: int) -> Run:
    """In this process."""
    before, redis_before, began_s = time.process_time(), cpu_s(redis_pid), time.monotonic()
    work()
    elapsed_s = time.monotonic() - began_s
    return Run(closes, elapsed_s, time.process_time() - before, cpu_s(redis_pid) - redis_before)


def _row(name: str, runs: list[Run], workers: list[Run]) -> Row:
    return {
        "program": name,
        "closes_per_s": statistics.median(run.closes_per_s for run in runs),
        "program_cpu_us": statistics.median(run.reader_us for run in runs),
        "redis_cpu_us": statistics.median(run.redis_us for run in runs),
        "x_worker": ratio(
            [run.reader_us + run.redis_us for run in runs],
            [run.reader_us + run.redis_us for run in workers],
        ),
    }
