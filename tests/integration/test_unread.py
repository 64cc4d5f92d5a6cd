"""Counting entries that no worker has taken: exact if Redis knows it, else limited, in steps."""

import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.commands.replay.feeding import StreamFeeder
from marketstate.worker.engine.heartbeat import Heartbeat
from marketstate.worker.engine.status import (
    COUNTED_AT_ONCE,
    MOST_COUNTED_PERIODICALLY,
    Unread,
    enough_for,
    read_status,
    unread,
)
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.stop import Stop
from marketstate.worker.store.scripts import Scripts
from tests.support.monitoring import Command, monitored
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INPUT, WorkerProcess

BACKLOG = 25_000
FILL = """
for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], i .. '-1', 'symbol', 'S', 'close', ARGV[2]) end
"""


def fill(client: redis.Redis, entries: int, value: str = "1.5") -> None:
    client.eval(FILL, 1, INPUT, str(entries), value)


def group_of(client: redis.Redis) -> Any:
    groups: Any = client.xinfo_groups(INPUT)
    return groups[0]


@pytest.fixture
def worker(server: EmbeddedRedis, client: redis.Redis) -> SteppedWorker:
    """Of a group with a backlog that Redis does not know: 6.2 never does, 7 not after an XDEL."""
    worker = SteppedWorker(server, "one")
    fill(client, BACKLOG + 1)
    client.xdel(INPUT, "20000-1")
    assert group_of(client).get("lag") is None
    return worker


def counted(commands: list[Command]) -> list[int]:
    """How many entries each script has asked for."""
    by_script: list[int] = []
    for command in commands:
        if command.name == "EVALSHA":
            by_script.append(0)
        elif command.name == "XRANGE" and command.in_script:
            by_script[-1] += int(command.words[-1])
    return by_script


def by_the_heartbeat(worker: SteppedWorker, folder: Path) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        notifier = SystemdNotifier(str(folder / "notify"))
        notifier.ready()
        client: Any = worker.intake._client
        Heartbeat(notifier, worker.settings, client, worker.shards).beat()
        return [manager.recv(65_536).decode() for _ in range(2)][-1]


def by_status(worker: SteppedWorker, _folder: Path) -> str:
    client: Any = worker.intake._client
    return f"lag {read_status(client, worker.settings, enough_for(20_000)).lag_in_words}, "


def by_a_replay(worker: SteppedWorker, _folder: Path) -> str:
    told: list[str] = []
    stop = Stop()

    def on_wait(unfinished: str) -> None:
        told.append(f"lag {unfinished}, ")
        stop.requested = True

    feeder = StreamFeeder(worker.settings, stop, on_wait, told.append)
    feeder._wait_until_unfinished(20_000)
    return told[0]


@pytest.mark.parametrize(
    ("look", "most"),
    [(by_the_heartbeat, MOST_COUNTED_PERIODICALLY), (by_status, 20_001), (by_a_replay, 20_001)],
)
def test_no_more_of_a_long_backlog_is_counted_than_is_needed(
    look: Callable[[SteppedWorker, Path], str],
    most: int,
    worker: SteppedWorker,
    server: EmbeddedRedis,
    tmp_path: Path,
) -> None:
    """G8: and no script counts for longer than others can wait."""
    with monitored(server) as commands:
        said = look(worker, tmp_path)
    assert f"lag at least {most}, " in said
    assert (sum(counted(commands)), max(counted(commands))) == (most, COUNTED_AT_ONCE)


@pytest.mark.parametrize("most", [BACKLOG - 1, BACKLOG, BACKLOG + 1, 100_000])
def test_a_backlog_that_is_counted_to_its_end_is_exact(
    most: int, worker: SteppedWorker, client: redis.Redis
) -> None:
    """G8."""
    found = unread(client, worker.keys, group_of(client), most)
    assert found == Unread(min(BACKLOG, most), most <= BACKLOG, b"1-1")


def test_a_lag_below_0_is_not_believed(worker: SteppedWorker, client: redis.Redis) -> None:
    """G8: Redis 7 tells that of a group that Redis 6.2 has created."""
    group = group_of(client) | {"lag": -244}
    assert unread(client, worker.keys, group, 100_000) == Unread(BACKLOG, False, b"1-1")


def test_large_entries_are_counted_a_few_at_a_time(client: redis.Redis) -> None:
    fill(client, 100, "1" * 200_000)
    found: Any = Scripts(client).unread(keys=[INPUT], args=["0-0", 1_000])
    assert found == [16, b"16-1", 0]
    client.delete(INPUT)
    fill(client, 1_000, "1" * 2_000)
    found = Scripts(client).unread(keys=[INPUT], args=["0-0", 1_000])
    assert 500 <= found[0] < 600


@pytest.mark.usefixtures("worker")
def test_a_limit_above_what_is_otherwise_counted_is_judged_all_the_same(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    assert (enough_for(math.inf, 7), enough_for(1_000_000), enough_for(0)) == (7, 1_000_001, 1)
    for most, expected in ((BACKLOG - 1, 4), (BACKLOG, 0)):
        options = ("status", "--max-lag", str(most), "--json")
        with WorkerProcess(server.port, tmp_path, *options) as process:
            assert process.exit_code() == expected, process.log
        assert '"lag":25000,' in process.log
        assert f'"lag_at_least":{"true" if expected else "false"}' in process.log
