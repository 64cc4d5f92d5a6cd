"""Connections that are cut or delayed, and requests or replies that get lost."""

import random
from typing import Any, Final

from tests.fault.chaos.proxy import Mischief
from tests.fault.chaos.stage import Stage, Steps, until_or

A_COMMIT: Final = 12_000
"""Bytes; no other request of a worker is as large, but for those that load scripts."""


def cut(stage: Stage, rng: random.Random) -> Steps:
    direction: Any = rng.choice(["request", "reply"])
    at_least = rng.choice([1, A_COMMIT if direction == "request" else 500])
    mischief = Mischief("cut", direction, at_least=at_least, part=rng.choice([0, 1, rng.random()]))
    return (yield from _mischief(stage, mischief))


def delay(stage: Stage, rng: random.Random) -> Steps:
    direction: Any = rng.choice(["request", "reply"])
    # Some delays are longer than the worker waits.
    seconds = rng.choice([0.1, 0.5, 1.5, 1.5, 2.5, 6.5])
    return (yield from _mischief(stage, Mischief("delay", direction, seconds=seconds)))


def lost_reply(stage: Stage, rng: random.Random) -> Steps:
    at_least = rng.choice([1, A_COMMIT, A_COMMIT])
    return (yield from _mischief(stage, Mischief("lost reply", at_least=at_least)))


def late_request(stage: Stage, rng: random.Random) -> Steps:
    at_least, seconds = rng.choice([1, A_COMMIT, A_COMMIT]), rng.uniform(0, 2)
    mischief = Mischief("late request", at_least=at_least, seconds=seconds)
    return (yield from _mischief(stage, mischief))


def _mischief(stage: Stage, mischief: Mischief) -> Steps:
    proxy = stage.servers.proxy
    proxy.arm(mischief)
    yield from until_or(lambda: not proxy.is_armed(mischief))
    missed = proxy.disarm(mischief)
    stage.note(f"{mischief}{', but no data came' if missed else ''}")
    return not missed
