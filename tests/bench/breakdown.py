"""Where the time for a close goes: a worker's session in this process, with a stopwatch."""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final
from unittest.mock import patch

import redis

from marketstate.core.state import MarketState
from marketstate.schemas.market_state import journal_line
from marketstate.worker.engine import commit
from marketstate.worker.engine.intake import Intake
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.engine.routing import Routed
from marketstate.worker.engine.session import Session
from marketstate.worker.engine.shards import Shards
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.log import log
from marketstate.worker.settings import settings_from
from tests.bench.clocks import cpu_s, pin, pinned_ourselves
from tests.bench.log_file import log_file
from tests.bench.market import Market
from tests.bench.report import Row
from tests.bench.rig import READER_CORE, REDIS_CORE
from tests.support.worker_process import feed_fields

SYMBOLS: Final = 100
CLOSES: Final = 20_000
FIRST_CLOSES: Final = 2_000
REDIS_PARTS: Final = {
    "XREADGROUP, XCLAIM: read and route": ("xreadgroup", "xclaim"),
    "RPUSH, LTRIM: windows": ("rpush", "ltrim"),
    "HSET, SET, PEXPIRE, XADD: states": ("hset", "set", "pexpire", "xadd"),
    "XACK: acknowledge": ("xack",),
}
REST: Final = "all the rest: leases, the batch size, the loop"


class Stopwatch:
    """The time of each part alone: a part's clock stops while another part runs inside it."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = defaultdict(float)
        self.elapsed_s: dict[str, float] = defaultdict(float)
        self._part = REST
        self._last = (time.process_time(), time.perf_counter())

    def times(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            outer = self.switch_to(part)
            try:
                return function(*args, **named)
            finally:
                self.switch_to(outer)

        return timed

    def switch_to(self, part: str) -> str:
        """Start timing `part`; returns the part that was being timed."""
        now = (time.process_time(), time.perf_counter())
        self.cpu_s[self._part] += now[0] - self._last[0]
        self.elapsed_s[self._part] += now[1] - self._last[1]
        before, self._part, self._last = self._part, part, now
        return before


def breakdown(quick: bool) -> list[Row]:
    """Where the time for a close goes if every close is emitted: CPU and elapsed time of each part
    of the worker alone; elapsed time includes waiting for Redis. Then of Redis: elapsed time of its
    commands, CPU of everything together.
    """
    closes = 1_000 if quick else CLOSES
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis())
        client = stack.enter_context(server.client())
        pin(server.pid, REDIS_CORE)
        stack.enter_context(pinned_ourselves(READER_CORE))
        stack.enter_context(log_file(log))
        market = Market(SYMBOLS)
        market.fill(client)
        session = _session(server.port)
        feed_fields(client, market.entries(FIRST_CLOSES))
        _work(session)
        feed_fields(client, market.entries(closes))
        client.config_resetstat()
        redis_before = cpu_s(server.pid)
        watch = _watched(session)
        redis_s = cpu_s(server.pid) - redis_before
        redis_parts = _redis_parts_us(client)
        session.leave()
    cpu = watch.cpu_s | {"sum": sum(watch.cpu_s.values())}
    elapsed = watch.elapsed_s | {"sum": sum(watch.elapsed_s.values())}
    us_per_close = 1e6 / closes
    rows: list[Row] = [
        {
            "part": part,
            "cpu_us": cpu[part] * us_per_close,
            "elapsed_us": elapsed[part] * us_per_close,
        }
        for part in cpu
    ]
    rows += [
        {"part": f"Redis: {part}", "elapsed_us": took_us / closes}
        for part, took_us in redis_parts.items()
    ]
    return [*rows, {"part": "Redis: sum", "cpu_us": redis_s * us_per_close}]


def _redis_parts_us(client: redis.Redis) -> dict[str, float]:
    """What Redis's commands took, by part; scripts without the commands that they call."""
    info: Any = client.info("commandstats")
    took_us = {name.removeprefix("cmdstat_"): stats["usec"] for name, stats in info.items()}
    scripts_us = took_us.pop("evalsha")
    parts = {
        part: float(sum(took_us.pop(command, 0) for command in commands))
        for part, commands in REDIS_PARTS.items()
    }
    parts["other commands"] = float(sum(took_us.values()))
    return parts | {"scripts without these": scripts_us - sum(parts.values())}


def _session(port: int) -> Session:
    environ = {
        "MARKETSTATE_REDIS_PORT": str(port),
        "MARKETSTATE_START": "replay",
        "MARKETSTATE_LEASE_SECONDS": "600",
    }
    session = Session(settings_from(environ), "bench", SystemdNotifier())
    session.shards.keep()
    return session


def _work(session: Session) -> None:
    while session.work_on_a_batch():
        pass


def _watched(session: Session) -> Stopwatch:
    """Work until nothing is left, every part timed by the way."""
    entries = Routed.entries
    parts: list[tuple[Any, str, str, Callable[..., Any]]] = [
        (owner, name, "ask Redis for entries, and wait", getattr(owner, name))
        for owner, name in ((Intake, "fetch"), (Intake, "ask_ahead"))
    ]
    parts += [
        # It yields, so it takes its time only while somebody asks for more.
        (Routed, "entries", "unpack the entries", lambda routed: list(entries(routed))),
        (Pipeline, "read", "read: decode and check", Pipeline.read),
        (Pipeline, "advance", "advance, without the states", Pipeline.advance),
        (MarketState, "rows", "states", MarketState.rows),
        (commit.Commit, "_plan", "plan of the commit", commit.Commit._plan),
        (commit.Commit, "_write", "commit, and wait", commit.Commit._write),
        (commit.Commit, "begin", "commit, and wait", commit.Commit.begin),
        (commit.Commit, "finish", "commit, and wait", commit.Commit.finish),
        (Shards, "move", "windows in memory move", Shards.move),
        (commit, "journal_line", "journal lines", journal_line),
        (log, "info", "journal lines", log.info),
    ]
    watch = Stopwatch()
    with ExitStack() as stack:
        for owner, name, part, function in parts:
            stack.enter_context(patch.object(owner, name, watch.times(part, function)))
        _work(session)
        watch.switch_to(REST)
    return watch
