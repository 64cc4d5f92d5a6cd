"""Which fault happens when: drawn from the table with a seed, and executed in lanes."""

import heapq
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from typing import Final, NamedTuple

from tests.fault.chaos.faults.table import TABLE, UPGRADE
from tests.fault.chaos.stage import Fault, Stage, Steps

MEAN_GAP_S: Final = 0.4
TICK_S: Final = 0.02


class Planned(NamedTuple):
    fault: Fault
    gap_s: float
    """Time after its start until the next fault may start."""
    rng: random.Random


def schedule(seed: int, faults: int, kinds: Collection[str]) -> list[Planned]:
    """Each kind once if there are enough faults, the others by weight, in random order."""
    rng = random.Random(f"schedule {seed}")
    names = sorted(kinds)
    rng.shuffle(names)
    weights = [TABLE[name].weight for name in names]
    more = rng.choices(names, weights, k=max(0, faults - len(names))) if any(weights) else []
    drawn = names[:faults] + more
    rng.shuffle(drawn)
    if UPGRADE in drawn:
        # Early, because some faults need what only the newer Redis has.
        drawn.remove(UPGRADE)
        drawn.insert(len(drawn) // 4, UPGRADE)
    return [
        Planned(
            TABLE[name],
            min(2.0, rng.expovariate(1 / MEAN_GAP_S)),
            random.Random(f"fault {seed} {number}"),
        )
        for number, name in enumerate(drawn)
    ]


class Conductor:
    """Starts faults and undoes them when due; one thread handles many faults at a time."""

    def __init__(
        self,
        stages: Sequence[Stage],
        on_tick: Callable[[], None],
        on_end: Callable[[Fault, bool], None],
    ) -> None:
        """Each fault happens on one of the stages. `on_end` is told whether it bit."""
        self._stages = stages
        self._on_tick = on_tick
        self._on_end = on_end
        self._due: list[tuple[float, int, Fault, Steps]] = []
        self._numbers = count()

    def run(self, plan: Sequence[Planned]) -> Iterator[Planned]:
        """Yields each fault just before it starts; it starts when the next one is requested."""
        for planned in plan:
            while any(_exclude(planned.fault, other) for other in self.open_faults()):
                self.tick()
            yield planned
            stage = planned.rng.choice(self._stages)
            while planned.fault.lane == "redis" and not stage.servers.are_settled():
                self.tick()
            steps = planned.fault.steps(stage, planned.rng)
            heapq.heappush(self._due, (time.monotonic(), next(self._numbers), planned.fault, steps))
            self.wait(planned.gap_s)
        while self._due:
            self.tick()

    def abandon(self) -> None:
        """Undo only faults of Redis, which must answer at the end."""
        self._due = [due for due in self._due if due[2].lane in ("redis", "everything")]
        heapq.heapify(self._due)
        while self._due:
            self.tick()

    def open_faults(self) -> list[Fault]:
        return [fault for _, _, fault, _ in self._due]

    def wait(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        self.tick()
        while time.monotonic() < until_s:
            self.tick()

    def tick(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, number, fault, steps = heapq.heappop(self._due)
            try:
                due_s = time.monotonic() + next(steps)
            except StopIteration as end:
                self._on_end(fault, end.value)
            else:
                heapq.heappush(self._due, (due_s, number, fault, steps))
        self._on_tick()
        time.sleep(TICK_S)


def _exclude(one: Fault, other: Fault) -> bool:
    lanes = {one.lane, other.lane}
    return "everything" in lanes or lanes == {"redis"}
