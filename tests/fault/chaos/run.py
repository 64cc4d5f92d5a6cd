"""One run, from the first entry to the histories that the checker judges."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.fault.chaos.faults.floor import feed_before_the_group
from tests.fault.chaos.faults.table import UPGRADE
from tests.fault.chaos.parts import Parts
from tests.fault.chaos.plan import Plan, Report
from tests.fault.chaos.reference import add_reference
from tests.fault.chaos.schedule import Conductor, schedule
from tests.fault.chaos.stage import Fault
from tests.fault.chaos.trouble import HarnessTrouble

FED_BEFORE: Final = 200
"""Entries that are there before the group is, which is created at their end."""
FED_AFTER: Final = 0.05
"""The part of all entries that is fed when the faults are over."""
START_TIMEOUT_S: Final = 30.0
FLOW_TIMEOUT_S: Final = 5.0
FINISH_TIMEOUT_S: Final = 180.0
BAD_RUN_TIMEOUT_S: Final = 5.0
MOST_COMPLAINTS: Final = 3
PROGRESS_S: Final = 10.0


def run(plan: Plan, binary: Path, folder: Path) -> Report:
    """Raises HarnessTrouble if the harness fails, not the workers."""
    whole = _Run(plan, binary, folder)
    try:
        report = whole.run()
    finally:
        whole.close()
    for history in report.histories if plan.with_reference else ():
        add_reference(history, binary, folder, whole.clock_library)
    return report


class _Hopeless(Exception):
    """Workers failed so often that more faults would show nothing new."""


class _Run:
    def __init__(self, plan: Plan, binary: Path, folder: Path) -> None:
        self._plan = plan
        self._began_s = time.monotonic()
        self._told_s = self._began_s
        self._faults: list[list[Any]] = []
        self._complaints: list[str] = []
        self._plan_of_faults = schedule(plan.seed, plan.faults, plan.possible_kinds)
        if not any(planned.fault.name == UPGRADE for planned in self._plan_of_faults):
            plan = replace(plan, older=None)
        self._parts = Parts(plan, binary, folder, self._note, self._complain)
        self.clock_library = self._parts.clock_library
        for history in self._parts.histories:
            # All have the same.
            history.faults, history.complaints = self._faults, self._complaints
        self._report = Report(self._parts.histories)
        self._conductor = Conductor(self._parts.stages, self._tick, self._has_ended)
        self._may_give_up = False

    def run(self) -> Report:
        if self._parts.bridge:
            self._parts.bridge.start()
        for feeder in self._parts.feeders:
            feeder.start()
        self._parts.feed(min(FED_BEFORE / self._plan.candles, 0.1))
        self._until(lambda: self._parts.behind_workers() == 0, "the first entries are fed")
        for group, stage in zip(self._parts.groups, self._parts.stages, strict=True):
            feed_before_the_group(stage)
            group.starts_here()
        for _ in range(self._plan.workers):
            self._parts.processes.start()
        self._until(
            lambda: len(self._parts.processes.able()) == self._plan.workers, "all workers are ready"
        )
        self._until(self._parts.servers.are_settled, "all servers are ready")
        try:
            self._may_give_up = True
            self._suffer()
        except _Hopeless:
            self._may_give_up = False
            self._conductor.abandon()
        self._finish()
        self._report.fed_again = sum(feeder.rewound for feeder in self._parts.feeders)
        return self._report

    def close(self) -> None:
        self._parts.close()

    def _suffer(self) -> None:
        plan = self._plan_of_faults
        before = self._parts.feeders[0].goal / self._parts.feeders[0].most
        # Some come when all faults are over: with them, a bridge finds what is missing.
        during = max(0.0, 1 - FED_AFTER - before)
        for number, planned in enumerate(self._conductor.run(plan)):
            self._parts.feed(before + during * (number + 1) / len(plan))
            self._let_flow()
            self._note(f"fault {number + 1}: {planned.fault.name}")

    def _has_ended(self, fault: Fault, bit: bool) -> None:
        self._report.faults[fault.name] += 1
        self._report.bit[fault.name] += bit

    @property
    def _is_hopeless(self) -> bool:
        return len(self._complaints) >= MOST_COMPLAINTS

    def _let_flow(self) -> None:
        """Faults must hit busy workers: not idle ones, and not with the whole run still to do."""
        most = 2 * self._plan.candles // max(1, self._plan.faults)
        until_s = time.monotonic() + FLOW_TIMEOUT_S
        while time.monotonic() < until_s:
            behind = self._parts.behind()
            if behind is not None and behind <= most:
                return
            self._conductor.tick()

    def _finish(self) -> None:
        """All faults are over: now the workers must finish everything."""
        self._may_give_up = False
        # Workers that have already failed may never finish.
        patience_s = BAD_RUN_TIMEOUT_S if self._complaints else FINISH_TIMEOUT_S
        give_up_s = time.monotonic() + patience_s
        self._until(self._parts.servers.are_settled, "all servers are well", in_any_case=True)
        self._parts.feed(1)
        for group in self._parts.groups:
            group.repair()
        while self._parts.behind() != 0:
            if time.monotonic() > give_up_s:
                self._complain(
                    f"{self._parts.behind()} entries are not finished after {patience_s:.0f} s "
                    "without faults"
                )
                break
            self._conductor.tick()
        self._parts.processes.restarts = False
        while not self._is_hopeless and self._parts.processes.workers:
            for worker in self._parts.processes.able():
                self._parts.processes.terminate(worker)
            self._conductor.tick()
        self._parts.processes.kill_all()
        for group in self._parts.groups:
            group.collect()

    def _until(self, condition: Callable[[], Any], what: str, *, in_any_case: bool = False) -> None:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if time.monotonic() > give_up_s or (self._is_hopeless and not in_any_case):
                seen = "; ".join(self._complaints) or "no complaints"
                raise HarnessTrouble(f"timed out waiting until {what}: {seen}")
            self._conductor.tick()

    def _tick(self) -> None:
        self._parts.watch()
        if self._is_hopeless and self._may_give_up:
            raise _Hopeless
        if time.monotonic() - self._told_s > PROGRESS_S:
            self._told_s = time.monotonic()
            fed = sum(feeder.fed for feeder in self._parts.feeders)
            print(
                f"{self._seconds():6.1f} s  {sum(self._report.faults.values())} faults  "
                f"{fed} fed  {self._parts.behind()} behind  {self._parts.processes.size} workers",
                flush=True,
            )

    def _note(self, text: str) -> None:
        self._faults.append([round(self._seconds(), 3), text])

    def _complain(self, text: str) -> None:
        self._note(f"COMPLAINT: {text}")
        self._complaints.append(f"after {self._seconds():.1f} s: {text}")

    def _seconds(self) -> float:
        return time.monotonic() - self._began_s
