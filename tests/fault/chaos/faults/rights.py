"""A right of the workers is taken away and given back, or a command has another name for a while.

Either may break a commit off half-way. The workers end with the reason, and what is started after
the repair completes the commit.
"""

import random
from typing import Final

from tests.fault.chaos.servers import WORKERS_USER
from tests.fault.chaos.stage import Stage, Steps, Waiting, aof_again, until, until_or

OF_COMMITS: Final = ("hset", "ltrim", "pexpire", "rpush", "xack", "xadd")
OF_OTHERS: Final = ("evalsha", "get", "hget", "hgetall", "lrange", "set", "time", "type")
OF_ROUTING: Final = ("xclaim", "xpending", "xreadgroup", "xread")
TIME_TO_COMPLETE_S: Final = 15.0
REASONS: Final = ("ACL LOG", "rename-command")
"""In the last words of a worker that was refused something, so that an operator finds it."""


def right_taken_away(stage: Stage, rng: random.Random) -> Steps:
    master = stage.servers.master
    command = rng.choice([*OF_COMMITS, *OF_COMMITS, *OF_ROUTING, *OF_OTHERS])
    stage.note(f"the right to {command} is taken away")
    master.command("ACL", "LOG", "RESET")
    stage.processes.excuse(REASONS)
    master.command("ACL", "SETUSER", WORKERS_USER, f"-{command}")
    refused = yield from until_or(lambda: master.command("ACL", "LOG"))
    yield rng.uniform(0, 1)
    stage.note("the right is given back")
    master.command("ACL", "SETUSER", WORKERS_USER, f"+{command}")
    yield from _commits_are_complete(stage)
    return refused


def command_renamed(stage: Stage, rng: random.Random) -> Steps:
    """The log has the names of commands, so Redis starts from a snapshot, and without a log."""
    master, ended = stage.servers.master, stage.processes.excused_ends
    command = rng.choice(OF_COMMITS)
    stage.note(f"Redis killed, to come back from a snapshot and without {command}")
    stage.processes.excuse(REASONS)
    master.command("SAVE")
    master.kill()
    master.start_from_snapshot("--rename-command", command, rng.choice(["", f"my-{command}"]))
    noticed = yield from until_or(lambda: stage.processes.excused_ends > ended)
    yield rng.uniform(0, 1)
    stage.note(f"Redis killed, to come back with {command}")
    master.command("SAVE")
    master.kill()
    master.start_from_snapshot()
    yield from aof_again(stage)
    yield from _commits_are_complete(stage)
    return noticed


def _commits_are_complete(stage: Stage) -> Waiting:
    """By what was started after the repair."""
    master, processes = stage.servers.master, stage.processes

    def complete() -> bool:
        return not any(b":" in text for text in master.command("HVALS", stage.names.commits))

    # On a busy machine, a process takes long to start.
    yield from until(lambda: processes.able() or complete(), "a worker has started")
    done = yield from until_or(complete, TIME_TO_COMPLETE_S)
    if not done:
        stage.complain(f"a commit is not complete {TIME_TO_COMPLETE_S:.0f} s after the repair")
    processes.no_more_excuses()
