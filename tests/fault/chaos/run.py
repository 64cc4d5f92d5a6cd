"""One run, from the first entry to the history that the checker judges."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from tests.fault.chaos.breakages import copy_code
from tests.fault.chaos.bridge import Bridge
from tests.fault.chaos.clock import build_library
from tests.fault.chaos.entries import (
    AHEAD_MS,
    MINUTE_MS,
    MOST_AHEAD_S,
    MOST_SYMBOLS,
    entries,
    symbols_of,
)
from tests.fault.chaos.faults.floor import feed_before_the_group
from tests.fault.chaos.faults.table import TABLE, UPGRADE
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.group import Group
from tests.fault.chaos.history import History
from tests.fault.chaos.names import SOURCE, Names
from tests.fault.chaos.nodes import Nodes
from tests.fault.chaos.one_server import OneServer
from tests.fault.chaos.reference import judged_by, undisturbed, worker_settings
from tests.fault.chaos.schedule import Conductor, schedule
from tests.fault.chaos.stage import Fault, Stage
from tests.fault.chaos.trouble import HarnessTrouble
from tests.fault.chaos.workers import WorkerProcesses

KINDS: Final = frozenset(TABLE)
MOST_CANDLES: Final = (MOST_AHEAD_S * 1_000 - AHEAD_MS) // MINUTE_MS * MOST_SYMBOLS
"""With more, the last ones would close further ahead than workers allow."""
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

    partitions: int = 0
    """On a Redis Cluster, so many; 0 for one Redis and one group."""
    bridged: bool = False
    """Feed one stream, which a bridge brings to the partitions."""

    @property
    def names(self) -> list[Names]:
        """Those of each group."""
        count = self.partitions
        return [Names(each, count) for each in range(count)] if count else [Names()]

    @property
    def possible_kinds(self) -> frozenset[str]:
        where = {"anywhere", "cluster" if self.partitions else "one server"}
        where.add("bridge" if self.bridged else "without a bridge")
        fit = {name for name in self.kinds if TABLE[name].where in where}
        return frozenset(fit) - (frozenset() if self.older else {UPGRADE})


@dataclass
class Report:
    histories: list[History]
    """Of the group, or of each partition."""
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
    for history in report.histories if plan.with_reference else ():
        history.reference = undisturbed(history, binary, folder, whole.clock_library)
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
        self._feeders: list[Feeder] = []
        code = copy_code(folder, plan.breakage)  # may fail, so before anything runs
        self.clock_library = build_library(folder)
        self._plan_of_faults = schedule(plan.seed, plan.faults, plan.possible_kinds)
        self._servers = self._started_servers(binary, folder)
        settings = worker_settings(folder) | self._servers.settings
        self._processes = WorkerProcesses(
            code, folder, self.clock_library, settings, self._complain
        )
        first_close_ms = int(time.time() * 1_000) // MINUTE_MS * MINUTE_MS + AHEAD_MS - 1
        self._histories = [
            History(self._judged_by(names), self._faults, self._complaints) for names in plan.names
        ]
        self._bridge = self._new_bridge(code, folder) if plan.bridged else None
        self._groups = self._new_groups(first_close_ms)
        self._stages = [
            Stage(
                *(group.names, self._servers.of(group.names), self._processes, group.feeder),
                *(plan.workers, self._note, self._complain, self._bridge),
            )
            for group in self._groups
        ]
        self._report = Report(self._histories)
        self._conductor = Conductor(self._stages, self._tick, self._has_ended)
        self._may_give_up = False

    def _started_servers(self, binary: Path, folder: Path) -> OneServer | Nodes:
        if self._plan.partitions:
            return Nodes(binary, folder, self.clock_library, self._plan.partitions)
        is_upgraded = any(planned.fault.name == UPGRADE for planned in self._plan_of_faults)
        older = self._plan.older if is_upgraded else None
        return OneServer(binary, folder, self.clock_library, older)

    def _judged_by(self, names: Names) -> dict[str, Any]:
        plan = self._plan
        return judged_by(
            names,
            seed=plan.seed,
            entries=0,
            faults=plan.faults,
            workers=plan.workers,
            breakage=plan.breakage,
            max_ahead_ms=MOST_AHEAD_S * 1_000,
            bridged=plan.bridged,
        )

    def _new_groups(self, first_close_ms: int) -> list[Group]:
        """Each with a feeder of its own, or all with that of the bridge's stream."""
        plan = self._plan
        every_symbol = [symbol for names in plan.names for symbol in symbols_of(names)]
        if isinstance(self._servers, Nodes) and plan.bridged:
            fed = entries(plan.seed, plan.candles, first_close_ms, every_symbol)
            source = self._servers.of_key(SOURCE)
            self._feeders = [Feeder(SOURCE, fed, first_close_ms, source, plan.seed)]
        else:
            count = plan.candles // len(plan.names)
            self._feeders = [
                Feeder(
                    names.input,
                    entries(plan.seed, count, first_close_ms, symbols_of(names)),
                    first_close_ms,
                    self._servers.of(names),
                    plan.seed,
                )
                for names in plan.names
            ]
        return [
            Group(names, self._servers.of(names), feeder, history)
            for names, feeder, history in zip(
                plan.names, cycle(self._feeders), self._histories, strict=False
            )
        ]

    def _new_bridge(self, code: Path, folder: Path) -> Bridge:
        assert isinstance(self._servers, Nodes)
        source = self._servers.of_key(SOURCE)
        return Bridge(code, folder, self._servers.settings, source, self._complain)

    def _feed(self, part: float) -> None:
        """Up to this part of all entries."""
        for feeder in self._feeders:
            feeder.goal = int(part * feeder.most)
        for history, feeder in zip(self._histories, cycle(self._feeders), strict=False):
            history.settings["entries"] = feeder.goal

    def run(self) -> Report:
        if self._bridge:
            self._bridge.start()
        for feeder in self._feeders:
            feeder.start()
        self._feed(min(FED_BEFORE / self._plan.candles, 0.1))
        self._until(lambda: self._behind_workers() == 0, "the first entries are fed")
        for group, stage in zip(self._groups, self._stages, strict=True):
            feed_before_the_group(stage)
            group.starts_here()
        for _ in range(self._plan.workers):
            self._processes.start()
        self._until(
            lambda: len(self._processes.able()) == self._plan.workers, "all workers are ready"
        )
        self._until(self._servers.are_settled, "all servers are ready")
        try:
            self._may_give_up = True
            self._suffer()
        except _Hopeless:
            self._may_give_up = False
            self._conductor.abandon()
        self._finish()
        self._report.fed_again = sum(feeder.rewound for feeder in self._feeders)
        return self._report

    def close(self) -> None:
        for feeder in self._feeders:
            feeder.stop()
        if self._bridge:
            self._bridge.close()
        self._processes.kill_all()
        self._servers.close()

    def _suffer(self) -> None:
        plan, before = self._plan_of_faults, self._feeders[0].goal / self._feeders[0].most
        for number, planned in enumerate(self._conductor.run(plan)):
            # Some come when all faults are over: with them, a bridge finds what is missing.
            done = (number + 1) / len(plan) * (1 - FED_AFTER)
            self._feed(max(before, done))
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
            behind = self._behind()
            if behind is not None and behind <= most:
                return
            self._conductor.tick()

    def _finish(self) -> None:
        """All faults are over: now the workers must finish everything."""
        self._may_give_up = False
        # Workers that have already failed may never finish.
        patience_s = BAD_RUN_TIMEOUT_S if self._complaints else FINISH_TIMEOUT_S
        give_up_s = time.monotonic() + patience_s
        self._until(self._servers.are_settled, "all servers are well")
        self._feed(1)
        for group in self._groups:
            group.repair()
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
        for group in self._groups:
            group.collect()

    def _behind(self) -> int | None:
        """How many entries are not finished; None while a server does not answer."""
        found = [self._behind_workers(), *(group.behind() for group in self._groups)]
        return None if None in found else sum(each or 0 for each in found)

    def _behind_workers(self) -> int | None:
        """How many are not even in the streams that workers read."""
        if self._bridge:
            return self._bridge.behind(self._feeders[0])
        return sum(feeder.goal - feeder.fed for feeder in self._feeders)

    def _until(self, condition: Callable[[], Any], what: str) -> None:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not condition():
            if time.monotonic() > give_up_s or self._is_hopeless:
                seen = "; ".join(self._complaints) or "no complaints"
                raise HarnessTrouble(f"timed out waiting until {what}: {seen}")
            self._conductor.tick()

    def _tick(self) -> None:
        self._processes.watch()
        if self._is_hopeless and self._may_give_up:
            raise _Hopeless
        if self._bridge:
            self._bridge.watch()
        for feeder in self._feeders:
            if feeder.trouble:
                raise HarnessTrouble(f"the feeder failed: {feeder.trouble!r}")
        if time.monotonic() - self._told_s > PROGRESS_S:
            self._told_s = time.monotonic()
            fed = sum(feeder.fed for feeder in self._feeders)
            print(
                f"{self._seconds():6.1f} s  {sum(self._report.faults.values())} faults  "
                f"{fed} fed  {self._behind()} behind  {self._processes.size} workers",
                flush=True,
            )

    def _note(self, text: str) -> None:
        self._faults.append([round(self._seconds(), 3), text])

    def _complain(self, text: str) -> None:
        self._note(f"COMPLAINT: {text}")
        self._complaints.append(f"after {self._seconds():.1f} s: {text}")

    def _seconds(self) -> float:
        return time.monotonic() - self._began_s
