"""Clocks are set: the one that all workers share, which is Redis's, and that of a worker's host."""

import random
import time

from tests.fault.chaos.clock import Clock
from tests.fault.chaos.stage import LEASE_S, Stage, Steps, some_worker, until_or

SLACK_S = 1.0


def clock_of_redis_set(stage: Stage, rng: random.Random) -> Steps:
    """Back while a worker dies, its leases would live on for as long; on, all leases expire."""
    master = stage.servers.master
    offset_s = rng.choice([-300.0, -20.0, -LEASE_S, LEASE_S / 2, 3.0, 240.0])
    dies = rng.random() < 0.5
    if dies:
        worker = yield from some_worker(stage, rng, leaving=True)
        stage.note(f"SIGKILL {worker.name}")
        stage.processes.kill(worker)
    stage.note(f"the clock of Redis is set by {offset_s} s")
    master.clock.set(offset_s)
    seconds, _ = master.command("TIME")
    moved = bool(abs(seconds - time.time() - offset_s) < SLACK_S)
    yield rng.uniform(0.5, 3)
    if rng.random() < 0.7:
        stage.note("the clock of Redis is right again")
        master.clock.set(0.0)
    if dies:
        stage.note(f"started {stage.processes.start().name}")
    return moved


def clock_of_worker_set(stage: Stage, rng: random.Random) -> Steps:
    """No worker asks its own clock for the time, so this must change nothing."""
    worker = yield from some_worker(stage, rng)
    clock: Clock = worker.clock
    offset_s = rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(0, 7)
    stage.note(f"the clock of {worker.name} is set by {offset_s:.0f} s")
    clock.set(offset_s)
    asked = clock.times_asked
    noticed = yield from until_or(lambda: clock.times_asked > asked)
    yield rng.uniform(0, 1)
    clock.set(0.0)
    return noticed
