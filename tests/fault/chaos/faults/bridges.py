"""The bridge dies, or is started twice: what it brings twice must count once."""

import random

from tests.fault.chaos.stage import Stage, Steps


def bridge_killed(stage: Stage, rng: random.Random) -> Steps:
    bridge = stage.bridge
    assert bridge is not None
    was_running = bridge.is_running
    stage.note("the bridge is killed")
    bridge.kill(rng.choice([0.0, rng.uniform(0, 2)]))
    yield rng.uniform(0, 1)
    return was_running
