"""One run, from the first entry to the history that the checker judges."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import redis

from tests.fault.chaos import history as histories
from tests.fault.chaos.breakages import copy_code
from tests.fault.chaos.clock import build_library
from tests.fault.chaos.cluster import Cluster
from tests.fault.chaos.entries import (
    AHEAD_MS,
    MINUTE_MS,
    MOST_AHEAD_S,
    NUMBER_FIELD,
    SYMBOLS,
    entries,
)
from tests.fault.chaos.faults.floor import feed_before_the_group
from tests.fault.chaos.faults.symbols import repair_all
from tests.fault.chaos.faults.table import TABLE, UPGRADE
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.history import History
from tests.fault.chaos.names import INPUT
from tests.fault.chaos.reference import judged_by, undisturbed, worker_settings
from tests.fault.chaos.schedule import Conductor, schedule
from tests.fault.chaos.servers import open_client
from tests.fault.chaos.stage import Fault, Stage
from tests.fault.chaos.trouble import HarnessTrouble
from tests.fault.chaos.workers import WorkerProcesses
from tests.support.worker_process import group_info

KINDS: Final = frozenset(TABLE)
MOST_CANDLES: Final = (MOST_AHEAD_S * 1_000 - AHEAD_MS) // MINUTE_MS * len(SYMBOLS)
"""With more, the last ones would close further ahead than workers allow."""
FED_BEFORE: Final = 200
"""Entries that are there before the group is, which is created at their end."""
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
    older: Path | None = None
    """Redis 6.2, to begin with; without it there is no upgrade."""

    @property
    def possible_kinds(self) -> frozenset[str]:
        return frozenset(self.kinds) - (frozenset() if self.older else {UPGRADE})


@dataclass
class Report:
    history: History
    faults: Counter[str] = field(default_factory=Counter)
    bit: Counter[str] = field(default_factory=Counter)
    """How many of the faults met what they are meant to disturb."""
    fed_again: int = 0


def run(plan: Plan, binary: Path, folder: Path) -> Report:
    """Raises HarnessTrouble if the harness fails, not the workers."""
    whole = _Run(plan, binary, folder)
    try:
        report = whole.run()
    finally:
        whole.close()
    if plan.with_reference:
        report.history.reference = undisturbed(report.history, binary, folder, whole.clock_library)
    return report


class _Hopeless(Exception):
    """Workers failed so often that more faults would show nothing new."""


class _Run:
    def __init__(self, plan: Plan, binary: Path, folder: Path) -> None:
        self._plan = plan
        self._began_s = time.monotonic()
        self._told_s = self._began_s
        first_close_ms = int(time.time() * 1_000) // MINUTE_MS * MINUTE_MS + AHEAD_MS - 1
        self._history = History(
            settings=judged_by(
                seed=plan.seed,
                entries=0,
                faults=plan.faults,
                workers=plan.workers,
                breakage=plan.breakage,
                max_ahead_ms=MOST_AHEAD_S * 1_000,
            )
        )
        self._report = Report(self._history)
        code = copy_code(folder, plan.breakage)  # may fail, so before anything runs
        self.clock_library = build_library(folder)
        self._plan_of_faults = schedule(plan.seed, plan.faults, plan.possible_kinds)
        is_upgraded = any(planned.fault.name == UPGRADE for planned in self._plan_of_faults)
        older = plan.older if is_upgraded else None
        self._cluster = Cluster(binary, folder, self.clock_library, older)
        settings = worker_settings(folder) | {"redis_port": self._cluster.proxy.port}
        self._processes = WorkerProcesses(
            code, folder, self.clock_library, settings, self._complain
        )
        fed = entries(plan.seed, plan.candles, first_close_ms)
        self._feeder = Feeder(fed, first_close_ms, lambda: self._cluster.port, plan.seed)
        self._stage = Stage(
            self._cluster, self._processes, self._feeder, plan.workers, self._note, self._complain
        )
        self._conductor = Conductor(self._stage, self._tick, self._has_ended)
        self._may_give_up = False

    def run(self) -> Report:
        self._feeder.start()
        self._feed(min(FED_BEFORE, self._plan.candles // 10))
        self._until(lambda: self._feeder.fed == self._feeder.goal, "the first entries are fed")
        feed_before_the_group(self._stage)
        last_id = self._cluster.master.command("XINFO STREAM", INPUT)["last-generated-id"]
        self._history.settings["start_id"] = last_id.decode()
        for _ in range(self._plan.workers):
            self._processes.start()
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
        plan, before = self._plan_of_faults, self._feeder.goal
        for number, planned in enumerate(self._conductor.run(plan)):
            self._feed(before + (self._plan.candles - before) * (number + 1) // len(plan))
            self._let_flow()
            self._note(f"fault {number + 1}: {planned.fault.name}")
        self._feed(self._plan.candles)

    def _has_ended(self, fault: Fault, bit: bool) -> None:
        self._report.faults[fault.name] += 1
        self._report.bit[fault.name] += bit

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
            if behind is not None and behind <= most:
                return
            self._conductor.tick()

    def _finish(self) -> None:
        """All faults are over: now the workers must finish everything."""
        self._may_give_up = False
        # Workers that have already failed may never finish.
        patience_s = BAD_RUN_TIMEOUT_S if self._history.complaints else FINISH_TIMEOUT_S
        give_up_s = time.monotonic() + patience_s
        with open_client(self._cluster.port) as client:
            repair_all(client)
        while self._behind() != 0:
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

    def _behind(self) -> int | None:
        """How many entries up to the goal are not finished; None while Redis does not answer."""
        try:
            with open_client(self._cluster.port) as client:
                group, stream = (
                    group_info(client),
                    cast("dict[str, Any]", client.xinfo_stream(INPUT)),
                )
                last_read = group["last-delivered-id"]
                [(_, fields)] = cast("list[Any]", client.xrange(INPUT, last_read, last_read))
        except (redis.RedisError, KeyError, ValueError):
            return None
        unread = self._feeder.goal - 1 - int(fields[NUMBER_FIELD])
        if last_read != stream["last-generated-id"]:
            unread = max(1, unread)
        return int(group["pending"]) + unread

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
