"""Redis is upgraded from 6.2 to 7, which continues with the same data."""

import random

from tests.fault.chaos.stage import Stage, Steps


def upgrade(stage: Stage, rng: random.Random) -> Steps:
    master = stage.servers.master
    before = master.version
    master.command("CONFIG", "SET", "appendfsync", "always")
    yield rng.uniform(0, 0.5)
    stage.note(f"Redis {before} killed, to come back as a newer one")
    master.kill()
    yield rng.uniform(0, 0.5)
    stage.one_server.upgrade()
    master.start_from_aof()
    return before[0] == "6" and master.version[0] != "6"
