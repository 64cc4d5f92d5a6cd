"""Workers that end, are paused, come and go."""

import random
from typing import Final

import redis

from tests.fault.chaos.names import SHARDS
from tests.fault.chaos.stage import LEASE_S, Stage, Steps, some_worker, until
from tests.fault.chaos.workers import Worker

EXTRA_WORKERS: Final = 2


def kill(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from some_worker(stage, rng, leaving=True)
    holds = _holds_shards(stage, worker)
    stage.note(f"SIGKILL {worker.name}")
    stage.processes.kill(worker)
    yield rng.uniform(0, 2 * LEASE_S)
    stage.note(f"started {stage.processes.start().name}")
    return holds


def terminate(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from some_worker(stage, rng, leaving=True)
    holds = _holds_shards(stage, worker)
    stage.note(f"SIGTERM {worker.name}")
    stage.processes.terminate(worker)
    yield rng.uniform(0, 2 * LEASE_S)
    stage.note(f"started {stage.processes.start().name}")
    return holds


def pause(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from some_worker(stage, rng)
    held = _holds_shards(stage, worker)
    stage.note(f"SIGSTOP {worker.name}")
    stage.processes.pause(worker)
    yield LEASE_S * rng.uniform(1.2, 3)
    holds = _holds_shards(stage, worker)
    stage.note(f"SIGCONT {worker.name}")
    stage.processes.resume(worker)
    return held and not holds


def another_worker(stage: Stage, rng: random.Random) -> Steps:
    yield from until(lambda: stage.processes.size < stage.workers + EXTRA_WORKERS, "there is room")
    stage.note(f"one more: {stage.processes.start().name}")
    yield rng.uniform(2, 4)
    worker = yield from some_worker(stage, rng)
    stage.note(f"one less: {worker.name}")
    stage.processes.terminate(worker)
    return True


def one_worker_less(stage: Stage, rng: random.Random) -> Steps:
    worker = yield from some_worker(stage, rng, leaving=True)
    stage.note(f"one less: {worker.name}")
    stage.processes.terminate(worker)
    yield rng.uniform(2, 4)
    stage.note(f"one more: {stage.processes.start().name}")
    return True


def _holds_shards(stage: Stage, worker: Worker) -> bool:
    try:
        tokens = stage.servers.master.command("MGET", *map(stage.names.lease, range(SHARDS)))
    except redis.RedisError:
        return False
    return any(token and token.startswith(f"{worker.name}:".encode()) for token in tokens)
