"""Lets each alarm fire and clear in a real Prometheus: `scripts/test-alarms`."""

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.alarms.options import parser
from tests.alarms.prometheus import RULES, Prometheus
from tests.alarms.stage import Stage
from tests.support.dashboard import queries
from tests.support.worker_process import INPUT, wait_until

PATIENCE_S: Final = 60.0
# Fires as soon as `verify` has not run for a while, and so at other times too.
UNASKED: Final = {"MarketstateVerifyOld"}
VIOLATED: Final = 4


class Run:
    def __init__(self, stage: Stage, prometheus: Prometheus) -> None:
        self.stage = stage
        self.prometheus = prometheus
        self.fired: set[str] = set()
        self.failures: list[str] = []

    def until(self, condition: Callable[[], bool], what: str) -> None:
        started_s = time.monotonic()
        while not condition():
            if time.monotonic() > started_s + PATIENCE_S:
                self.failures.append(f"{what}: not within {PATIENCE_S:.0f} s")
                print(f"FAIL {what}; firing: {self.prometheus.firing()}", flush=True)
                return
            time.sleep(0.2)
        print(f"ok   {what} after {time.monotonic() - started_s:.1f} s", flush=True)

    def fires(self, alarm: str) -> None:
        self.until(lambda: alarm in self.prometheus.firing(), f"{alarm} fires")
        self.fired.add(alarm)

    def all_clear(self) -> None:
        self.until(lambda: self.prometheus.firing() <= UNASKED, "all is clear")


def no_worker(run: Run) -> None:
    """the only worker is killed, and much arrives"""
    run.stage.worker.kill()
    run.fires("MarketstateNoWorker")
    run.stage.add_many_entries()
    run.fires("MarketstateBehind")
    run.fires("MarketstateOldEntries")
    run.stage.start_worker()


def no_upstream(run: Run) -> None:
    """the upstream stops; meanwhile somebody changes a state, and verify sees it"""
    run.stage.upstream.open = False
    run.fires("MarketstateSymbolsStale")
    run.stage.client.hset("quantum:marketstate:BTCUSDT", "ts", "9")
    run.stage.verify()
    run.fires("MarketstateVerifyFails")
    run.stage.upstream.open = True
    run.until(lambda: run.stage.verify() == 0, "verify finds nothing after the next state")


def bad_entries(run: Run) -> None:
    """entries that cannot be read"""
    run.stage.add_bad_entries()
    run.fires("MarketstateDeadLetters")


def trimmed(run: Run) -> None:
    """the upstream trims what nobody has read"""
    run.stage.worker.terminate()
    run.stage.add_bad_entries()
    run.stage.client.xtrim(INPUT, maxlen=0, approximate=False)
    run.stage.start_worker()
    run.fires("MarketstateEntriesLost")


def damaged(run: Run) -> None:
    """the key of a symbol is damaged"""
    run.stage.client.delete("quantum:marketstate:ETHUSDT")
    run.stage.client.set("quantum:marketstate:ETHUSDT", "a string")
    run.fires("MarketstateSymbolsSetAside")
    run.stage.client.delete("quantum:marketstate:ETHUSDT")


def invented(run: Run) -> None:
    """other workers invent prices"""
    run.stage.worker.terminate()
    other = run.stage.start_worker(source="synthetic")
    run.fires("MarketstateSynthetic")
    other.terminate()
    run.stage.start_worker()


def no_redis(run: Run) -> None:
    """Redis is killed"""
    run.stage.server.kill()
    run.fires("MarketstateUnreadable")
    run.stage.server.start()


def no_exporter(run: Run) -> None:
    """the exporter is gone"""
    run.stage.exporter.stop()
    run.fires("MarketstateMetricsAbsent")
    run.stage.exporter.start()


SCENARIOS: Final = (
    *(no_worker, no_upstream, bad_entries, trimmed, damaged),
    *(invented, no_redis, no_exporter),
)


def alarms_fire_and_clear(run: Run) -> None:
    run.until(
        lambda: bool(run.prometheus.values('marketstate_symbols{status="fresh"} == 5')),
        "a worker publishes fresh states",
    )
    run.stage.verify()
    run.all_clear()
    for scenario in SCENARIOS:
        print(f"     {scenario.__doc__}", flush=True)
        scenario(run)
        run.all_clear()


def dashboard_has_values(run: Run) -> None:
    for query in queries(symbol="BTCUSDT"):
        if not run.prometheus.values(query):
            run.failures.append(f"no values: {query}")
    print(f"ok   {len(queries(symbol='BTCUSDT'))} queries of the dashboard", flush=True)


@contextmanager
def running() -> Iterator[Run]:
    with (
        tempfile.TemporaryDirectory(prefix="marketstate-alarms-") as folder,
        EmbeddedRedis(None, "--appendonly", "yes") as server,
    ):
        stage = Stage(server, Path(folder))
        try:
            with Prometheus(Path(folder), stage.exporter.port) as prometheus:
                run = Run(stage, prometheus)
                wait_until(prometheus.is_ready, "Prometheus scrapes")
                yield run
        finally:
            stage.end()


def main() -> int:
    options = parser.parse_args()
    with running() as run:
        started_s = time.time()
        alarms_fire_and_clear(run)
        dashboard_has_values(run)
        if options.picture:
            from tests.alarms.picture import draw  # noqa: PLC0415  needs a second, and rarely

            draw(run.prometheus, started_s, time.time(), options.picture)
        all_alarms = set(re.findall(r"alert: (\w+)", RULES.read_text()))
        print(f"     did not fire here, only in promtool: {sorted(all_alarms - run.fired)}")
        failures = run.failures
    print("\n".join(failures) or "all is well")
    return VIOLATED if failures else 0


if __name__ == "__main__":
    sys.exit(main())
