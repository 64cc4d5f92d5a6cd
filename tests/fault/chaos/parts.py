"""All that takes part in a run: servers, workers, perhaps a bridge, and what they are fed."""

import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.fault.chaos.breakages import copy_code
from tests.fault.chaos.bridge import Bridge
from tests.fault.chaos.clock import build_library
from tests.fault.chaos.entries import AHEAD_MS, MINUTE_MS, MOST_AHEAD_S, entries, symbols_of
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.group import Group
from tests.fault.chaos.history import History
from tests.fault.chaos.names import SOURCE, Names
from tests.fault.chaos.nodes import Nodes
from tests.fault.chaos.one_server import OneServer
from tests.fault.chaos.plan import Plan
from tests.fault.chaos.reference import LONGER_MS, judged_by, worker_settings
from tests.fault.chaos.stage import Stage
from tests.fault.chaos.trouble import HarnessTrouble
from tests.fault.chaos.workers import WorkerProcesses


class Parts:
    def __init__(
        self,
        plan: Plan,
        binary: Path,
        folder: Path,
        note: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        """`plan.older` is the server to begin with, if there is one."""
        code = copy_code(folder, plan.breakage)  # may fail, so before anything runs
        self.clock_library = build_library(folder)
        self.servers: OneServer | Nodes = (
            Nodes(binary, folder, self.clock_library, plan.partitions)
            if plan.partitions
            else OneServer(binary, folder, self.clock_library, plan.older)
        )
        longer: tuple[str, ...] = tuple(LONGER_MS) if plan.intervals else ()
        settings = worker_settings(folder, longer) | self.servers.settings
        self.processes = WorkerProcesses(code, folder, self.clock_library, settings, complain)
        self.bridge: Bridge | None = None
        if plan.bridged and isinstance(self.servers, Nodes):
            source = self.servers.of_key(SOURCE)
            self.bridge = Bridge(code, folder, self.servers.settings, source, complain)
        self.histories = [History(_judged_by(names, plan)) for names in plan.names]
        self.feeders = self._new_feeders(plan)
        self.groups = [
            Group(names, self.servers.of(names), feeder, history)
            for names, feeder, history in zip(
                plan.names, cycle(self.feeders), self.histories, strict=False
            )
        ]
        self.stages = [
            Stage(
                *(group.names, self.servers.of(group.names), self.processes, group.feeder),
                *(plan.workers, note, complain, self.bridge),
                longer=longer,
            )
            for group in self.groups
        ]

    def feed(self, part: float) -> None:
        """Up to this part of all entries."""
        for feeder in self.feeders:
            feeder.goal = int(part * feeder.most)
        for history, feeder in zip(self.histories, cycle(self.feeders), strict=False):
            history.settings["entries"] = feeder.goal

    def watch(self) -> None:
        self.processes.watch()
        if self.bridge:
            self.bridge.watch()
        for feeder in self.feeders:
            if feeder.trouble:
                raise HarnessTrouble(f"the feeder failed: {feeder.trouble!r}")

    def behind(self) -> int | None:
        """How many entries are not finished; None while a server does not answer."""
        found = [self.behind_workers(), *(group.behind() for group in self.groups)]
        return None if None in found else sum(each or 0 for each in found)

    def behind_workers(self) -> int | None:
        """How many are not even in the streams that workers read."""
        if self.bridge:
            return self.bridge.behind(self.feeders[0])
        return sum(feeder.goal - feeder.fed for feeder in self.feeders)

    def close(self) -> None:
        for feeder in self.feeders:
            feeder.stop()
        if self.bridge:
            self.bridge.close()
        self.processes.kill_all()
        self.servers.close()

    def _new_feeders(self, plan: Plan) -> list[Feeder]:
        """One for each group, or one for the stream that the bridge brings to all."""
        first_close_ms = int(time.time() * 1_000) // MINUTE_MS * MINUTE_MS + AHEAD_MS - 1
        if plan.bridged and isinstance(self.servers, Nodes):
            symbols = [symbol for names in plan.names for symbol in symbols_of(names)]
            fed = entries(plan.seed, plan.candles, first_close_ms, symbols)
            source = self.servers.of_key(SOURCE)
            return [Feeder(SOURCE, fed, first_close_ms, source, plan.seed)]
        count = plan.candles // len(plan.names)
        return [
            Feeder(
                names.input,
                entries(plan.seed, count, first_close_ms, symbols_of(names)),
                first_close_ms,
                self.servers.of(names),
                plan.seed,
            )
            for names in plan.names
        ]


def _judged_by(names: Names, plan: Plan) -> dict[str, Any]:
    return judged_by(
        names,
        seed=plan.seed,
        entries=0,
        faults=plan.faults,
        workers=plan.workers,
        breakage=plan.breakage,
        max_ahead_ms=MOST_AHEAD_S * 1_000,
        bridged=plan.bridged,
        longer=LONGER_MS if plan.intervals else {},
    )
