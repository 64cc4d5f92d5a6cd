"""How the bench measures: CPU seconds of processes, dedicated cores, and stable ratios.

A machine is never completely quiet. So things that are compared are measured alternately within one
run (A B A B), and a ratio is the median of the ratios of each turn.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def cpu_s(pid: int) -> float:
    """The CPU time of a process in user and system mode, to the nanosecond.

    /proc/<pid>/stat has it only in steps of 10 ms. The id of the other process's clock is computed
    as in clock_getcpuclockid(3).
    """
    return time.clock_gettime((~pid << 3) | 2)


def pin(pid: int, number: int) -> None:
    """Pin a process to the `number`th available core, modulo the number of cores."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[number % len(cores)]})


@contextmanager
def pinned_ourselves(number: int) -> Iterator[None]:
    """Pin this process to one core; children that it starts inherit this."""
    cores = os.sched_getaffinity(0)
    pin(0, number)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def in_turns(ways: Mapping[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """Measure each way once per turn; returns the results, turn by turn."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, measure in ways.items():
            found[name].append(measure())
    return found


def ratio(numbers: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of measurements in the same turn."""
    return statistics.median(a / b for a, b in zip(numbers, others, strict=True))
