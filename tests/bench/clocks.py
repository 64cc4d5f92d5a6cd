"""How the bench measures: CPU seconds of processes, cores of their own, and ratios that last.

A machine is never quite quiet. So what is compared is measured in turns within one run (A B A B),
and a ratio is the median of the ratios turn by turn.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def cpu_s(pid: int) -> float:
    """The kernel's own account of a process, in user and system mode, to the nanosecond.

    /proc/<pid>/stat has it only in steps of 10 ms. The id of another process's clock is made as
    clock_getcpuclockid(3) makes it.
    """
    return time.clock_gettime((~pid << 3) | 2)


def pin(pid: int, number: int) -> None:
    """Keep a process on the `number`th core at our disposal, counted round where there are few."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[number % len(cores)]})


@contextmanager
def pinned_ourselves(number: int) -> Iterator[None]:
    """This process on one core; children that are started meanwhile inherit it."""
    cores = os.sched_getaffinity(0)
    pin(0, number)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def in_turns(ways: Mapping[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """Measure each way once per turn; what was found, turn by turn."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, measure in ways.items():
            found[name].append(measure())
    return found


def ratio(numbers: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of what was measured in the same turn."""
    return statistics.median(a / b for a, b in zip(numbers, others, strict=True))
