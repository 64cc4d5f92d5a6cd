"""What faults act on, and what a fault is."""

import random
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Literal, NamedTuple

import redis

from tests.fault.chaos import notes
from tests.fault.chaos.bridge import Bridge
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.names import GROUP, Names
from tests.fault.chaos.nodes import ServersOfKey
from tests.fault.chaos.notes import Command
from tests.fault.chaos.one_server import OneServer
from tests.fault.chaos.trouble import HarnessTrouble
from tests.fault.chaos.workers import Worker, WorkerProcesses

LEASE_S: Final = 1.0
POLL_S: Final = 0.05
LONGEST_STEP_S: Final = 60.0
TIME_TO_BITE_S: Final = 2.0

Steps = Generator[float, None, bool]
"""The code before a `yield` causes the fault, the code after it undoes it, and it yields the number
of seconds in between. It returns whether the fault bit: whether it met what it is meant to disturb.
"""
Waiting = Generator[float, None, None]
Lane = Literal["worker", "network", "redis", "everything"]
"""`worker` and `network` faults overlap with all but `everything`. There is one `redis` fault at a
time, because it needs a running Redis. `everything` is alone.
"""


Where = Literal["anywhere", "one server", "cluster", "bridge", "without a bridge"]


class Fault(NamedTuple):
    name: str
    weight: int
    """How often it is drawn again after its first time; 0 means that it can happen only once."""
    lane: Lane
    steps: Callable[["Stage", random.Random], Steps]
    where: Where = "anywhere"


@dataclass
class Stage:
    """`note` writes to the fault log, `complain` accuses the workers."""

    names: Names
    servers: OneServer | ServersOfKey
    processes: WorkerProcesses
    feeder: Feeder
    workers: int
    note: Callable[[str], None]
    complain: Callable[[str], None]
    bridge: Bridge | None = None
    longer: Collection[str] = ()
    """Names of longer intervals."""
    _numbers: Iterator[int] = field(default_factory=count)

    def new_symbol(self, what: str) -> str:
        """One that no entry has named before."""
        while True:
            symbol = f"{what}{next(self._numbers):05d}"
            if self.names.is_fed(symbol):
                return symbol

    def client(self) -> redis.Redis:
        return self.servers.client()

    @property
    def one_server(self) -> OneServer:
        assert isinstance(self.servers, OneServer)
        return self.servers

    @property
    def partition_servers(self) -> ServersOfKey:
        assert isinstance(self.servers, ServersOfKey)
        return self.servers

    def act(self, commands: Sequence[Command], symbol: str | None = None, **note: Any) -> None:
        """On the data of the group; see notes.py."""
        with self.client() as client:
            notes.act(client, self.names, commands, symbol, **note)

    def everything_is_read(self) -> bool:
        group = self.group()
        last_id = self.servers.master.command("XINFO STREAM", self.names.input)["last-generated-id"]
        return bool(group["last-delivered-id"] == last_id)

    def group(self) -> dict[str, Any]:
        with self.client() as client:
            groups = client.xinfo_groups(self.names.input)
        found: dict[str, Any] = next(one for one in groups if one["name"] == GROUP.encode())
        return found


def until(condition: Callable[[], Any], what: str) -> Waiting:
    """The workers have to do this: if they do not, the run ends."""
    if not (yield from until_or(condition, LONGEST_STEP_S)):
        raise HarnessTrouble(f"timed out after {LONGEST_STEP_S:.0f} s waiting until {what}")


def until_or(condition: Callable[[], Any], seconds: float = TIME_TO_BITE_S) -> Steps:
    """Whether the condition came true in that time."""
    give_up_s = time.monotonic() + seconds
    while time.monotonic() < give_up_s:
        try:
            if condition():
                return True
        except redis.RedisError:
            pass
        yield POLL_S
    return False


def some_worker(
    stage: Stage, rng: random.Random, *, leaving: bool = False
) -> Generator[float, None, Worker]:
    """A worker for a fault, once one can be spared."""

    def can_be_spared() -> bool:
        enough = stage.processes.size >= stage.workers if leaving else True
        return enough and len(stage.processes.able()) > 1

    yield from until(can_be_spared, "a worker can be spared")
    worker: Worker = rng.choice(stage.processes.able())
    return worker


def aof_again(stage: Stage) -> Waiting:
    """A master that has just been started from something else writes an AOF again."""
    master = stage.servers.master
    master.begin_aof()
    yield from until(master.aof_is_complete, "the AOF is complete")
