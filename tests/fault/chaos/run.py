"""One run, from the first entry to the history that the checker judges."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import redis

from core.theta import merged_theta
from tests.fault.chaos import history as histories
from tests.fault.chaos.breakages import copy_code
from tests.fault.chaos.cluster import Cluster
from tests.fault.chaos.entries import entries
from tests.fault.chaos.faults import TABLE, Stage
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.history import History
from tests.fault.chaos.names import INPUT
from tests.fault.chaos.reference import (
    SHARDS,
    SMALL_THETA,
    WINDOW_SIZE,
    undisturbed,
    worker_settings,
)
from tests.fault.chaos.schedule import Conductor, schedule
from tests.fault.chaos.servers import HarnessTrouble, open_client
from tests.fault.chaos.workers import WorkerProcesses
from tests.support.worker_process import finished, group_info

KINDS: Final = frozenset(TABLE)
START_TIMEOUT_S: Final = 30.0
FLOW_TIMEOUT_S: Final = 5.0
FINISH_TIMEOUT_S: Final = 180.0
BAD_RUN_TIMEOUT_S: Final = 5.0
MOST_COMPLAINTS: Final = 3
PROGRESS_S: Final = 10.0


@dataclass(frozen=True)
class Plan:
    seed: int
    candles: int
    faults: int
    workers: int
    kinds: Collection[str] = KINDS
    breakage: str | None = None
    with_reference: bool = True
    """Compare the bytes with those of an undisturbed worker."""


@dataclass
class Report:
    history: History
    faults: Counter[str] = field(default_factory=Counter)
    fed_again: int = 0


def run(plan: Plan, binary: Path, folder: Path) -> Report:
    """Raises HarnessTrouble if the harness fails, not the workers."""
    whole = _Run(plan, binary, folder)
    try:
        report = whole.run()
    finally:
        whole.close()
    if plan.with_reference:
        report.history.reference = undisturbed(report.history, binary, folder)
    return report


class _Hopeless(Exception):
    """Workers failed so often that more faults would show nothing new."""


class _Run:
    def __init__(self, plan: Plan, binary: Path, folder: Path) -> None:
        self._plan = plan
        self._began_s = time.monotonic()
        self._told_s = self._began_s
        self._history = History(settings=_judged_by(plan))
        self._report = Report(self._history)
        code = copy_code(folder, plan.breakage)  # may fail, so before anything runs
        self._cluster = Cluster(binary, folder)
        settings = worker_settings(folder) | {"redis_port": self._cluster.proxy.port}
        self._processes = WorkerProcesses(code, folder, settings, self._complain)
        self._feeder = Feeder(
            entries(plan.seed, plan.candles), lambda: self._cluster.port, plan.seed
        )
        stage = Stage(
            self._cluster, self._processes, plan.workers, SHARDS, self._note, self._complain
        )
        self._conductor = Conductor(stage, self._tick)
        self._may_give_up = False

    def run(self) -> Report:
        for _ in range(self._plan.workers):
            self._processes.start()
        self._feeder.start()
        self._until(
            lambda: len(self._processes.able()) == self._plan.workers, "all workers are ready"
        )
        try:
            self._may_give_up = True
            self._suffer()
        except _Hopeless:
            self._may_give_up = False
            self._conductor.abandon()
        self._finish()
        self._report.fed_again = self._feeder.rewound
        return self._report

    def close(self) -> None:
        self._feeder.stop()
        self._processes.kill_all()
        self._cluster.close()

    def _suffer(self) -> None:
        plan = schedule(self._plan.seed, self._plan.faults, self._plan.kinds)
        for number, planned in enumerate(self._conductor.run(plan)):
            self._feed(self._plan.candles * (number + 1) // len(plan))
            self._let_flow()
            self._report.faults[planned.fault.name] += 1
            self._note(f"fault {number + 1}: {planned.fault.name}")
        self._feed(self._plan.candles)

    @property
    def _is_hopeless(self) -> bool:
        return len(self._history.complaints) >= MOST_COMPLAINTS

    def _feed(self, goal: int) -> None:
        self._feeder.goal = self._history.settings["entries"] = goal

    def _let_flow(self) -> None:
        """Faults must hit busy workers: not idle ones, and not with the whole run still to do."""
        most = 2 * self._plan.candles // max(1, self._plan.faults)
        until_s = time.monotonic() + FLOW_TIMEOUT_S
        while time.monotonic() < until_s:
            behind = self._behind()
            if behind is not None and behind + self._feeder.goal - self._feeder.fed <= most:
                return
            self._conductor.tick()

    def _finish(self) -> None:
        """All faults are over: now the workers must finish everything."""
        self._may_give_up = False
        # Workers that have already failed may never finish.
        patience_s = BAD_RUN_TIMEOUT_S if self._history.complaints else FINISH_TIMEOUT_S
        give_up_s = time.monotonic() + patience_s
        while self._behind() != 0 or self._entries() != self._feeder.goal:
            if time.monotonic() > give_up_s:
                self._complain(
                    f"{self._behind()} entries are not finished after {patience_s:.0f} s "
                    "without faults"
                )
                break
            self._conductor.tick()
        self._processes.restarts = False
        while not self._is_hopeless and self._processes.workers:
            for worker in self._processes.able():
                self._processes.terminate(worker)
            self._conductor.tick()
        self._processes.kill_all()
        with open_client(self._cluster.port) as client:
            histories.collect(client, self._history)

    def _entries(self) -> int:
        return int(self._cluster.master.command("XLEN", INPUT))

    def _behind(self) -> int | None:
        """How many entries are not finished; None while Redis does not answer."""
        try:
            with open_client(self._cluster.port) as client:
                stream = cast("dict[str, Any]", client.xinfo_stream(INPUT))
                group = group_info(client)
                is_read = group["last-delivered-id"] == stream["last-generated-id"]
                if group["pending"] == 0 and is_read:
                    return 0
                return max(1, int(stream["length"]) - finished(client))
        except (redis.RedisError, KeyError):
            return None

    def _until(self, condition: Callable[[], Any], what: str) -> None:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if time.monotonic() > give_up_s or self._is_hopeless:
                seen = "; ".join(self._history.complaints) or "no complaints"
                raise HarnessTrouble(f"timed out waiting until {what}: {seen}")
            self._conductor.tick()

    def _tick(self) -> None:
        self._processes.watch()
        if self._is_hopeless and self._may_give_up:
            raise _Hopeless
        if self._feeder.trouble:
            raise HarnessTrouble(f"the feeder failed: {self._feeder.trouble!r}")
        if time.monotonic() - self._told_s > PROGRESS_S:
            self._told_s = time.monotonic()
            print(
                f"{self._seconds():6.1f} s  {sum(self._report.faults.values())} faults  "
                f"{self._feeder.fed} fed  {self._behind()} behind  {self._processes.size} workers",
                flush=True,
            )

    def _note(self, text: str) -> None:
        self._history.faults.append([round(self._seconds(), 3), text])

    def _complain(self, text: str) -> None:
        self._note(f"COMPLAINT: {text}")
        self._history.complaints.append(f"after {self._seconds():.1f} s: {text}")

    def _seconds(self) -> float:
        return time.monotonic() - self._began_s


def _judged_by(plan: Plan) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "entries": 0,
        "faults": plan.faults,
        "workers": plan.workers,
        "breakage": plan.breakage,
        "theta": merged_theta(SMALL_THETA),
        "window_size": WINDOW_SIZE,
        "publish_interval_ms": 60_000,
        "interval": "1m",
        "interval_ms": 60_000,
    }
