"""The faults of a Redis Cluster do what they say, and the partitions of a run stay apart."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.chaos.breakages import BREAKAGES, ROOT, copy_code
from tests.fault.chaos.bridge import Bridge
from tests.fault.chaos.checker import violations_of_all
from tests.fault.chaos.clock import build_library
from tests.fault.chaos.entries import entries, symbols_of
from tests.fault.chaos.faults.bridges import bridge_killed
from tests.fault.chaos.faults.cluster import (
    A_FAILOVER_S,
    failover_by_hand,
    master_killed,
    pause_node,
    slot_moved,
)
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.history import History
from tests.fault.chaos.names import SOURCE, Names
from tests.fault.chaos.nodes import Nodes
from tests.fault.chaos.reference import judged_by
from tests.fault.chaos.stage import Stage, Steps
from tests.fault.chaos.workers import WorkerProcesses
from tests.fault.test_chaos_faults import T0, played
from tests.support.worker_process import wait_until

NAMES = Names(partition=2, partitions=4)
KEY = f"chaos:{NAMES.input}"


@pytest.fixture
def stage(any_server_binary: Path, tmp_path: Path) -> Iterator[Stage]:
    library = build_library(tmp_path)
    nodes = Nodes(any_server_binary, tmp_path, library, partitions=4)
    processes = WorkerProcesses(tmp_path, tmp_path, library, {}, print)
    servers = nodes.of(NAMES)
    yield Stage(NAMES, servers, processes, Feeder(NAMES.input, [], T0, servers, 1), 0, print, print)
    nodes.close()


def test_nodes_die_pause_and_change_places_and_the_data_stays(stage: Stage) -> None:
    servers, rng = stage.partition_servers, random.Random(3)
    faults = [failover_by_hand, slot_moved, long_pause, master_killed]
    for fault in faults:
        master = servers.master
        with stage.client() as client:
            client.incr(KEY)
            client.wait(1, 5_000)
        assert played(fault(stage, rng))
        assert servers.master is not master
    assert servers.master.command("GET", KEY) == b"4"
    replica = servers.replica()
    assert replica is not None
    servers.proxy.keep_replicas_out()
    servers.master.command("SET", KEY, "never gets there")
    replica.command("CLUSTER FAILOVER", "TAKEOVER")
    wait_until(lambda: servers.master is replica, "it has taken over")
    assert replica.command("GET", KEY) == b"4"


def long_pause(stage: Stage, _rng: random.Random) -> Steps:
    return (yield from pause_node(stage, 2 * A_FAILOVER_S))


def test_a_symbol_in_two_partitions_is_a_violation() -> None:
    histories = []
    for partition in range(2):
        settings = judged_by(Names(partition, 2), entries=0)
        group = {"pending": 0, "last-delivered-id": "0-0", "last-generated-id": "0-0"}
        histories.append(History(settings, group=group))
    assert violations_of_all(histories) == []
    for history in histories:
        history.outputs.append(("1-0", {"symbol": "BTCUSDT", "record": "{}"}))
    found = violations_of_all(histories)
    assert any("'BTCUSDT' is in two partitions" in text for text in found), found


BROUGHT = {
    "all, some twice": ([[0, 2, 2, 3], [1, 4, 1, 4]], ""),
    "in another order": ([[0, 3, 2], [1, 4]], "brought entry 2 after 3"),
    "to both": ([[0, 2, 3], [1, 3, 4]], "brought entry 3 to"),
    "not all": ([[0, 3], [1, 4]], "not brought entry 2"),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_a_bridge_may_repeat_and_nothing_else(name: str) -> None:
    numbers, said = BROUGHT[name]
    histories = []
    for partition, some in enumerate(numbers):
        settings = judged_by(Names(partition, 2), entries=5, bridged=True)
        inputs = [(f"{i}-1", {"trace_id": str(number)}) for i, number in enumerate(some)]
        group = {"pending": 0, "last-delivered-id": "9-0", "last-generated-id": "9-0"}
        histories.append(History(settings, inputs=inputs, group=group))
    found = [text for text in violations_of_all(histories) if "the bridge" in text]
    assert [said in text for text in found] == ([True] if said else [])


def test_a_bridge_that_is_killed_is_started_again_and_goes_on(stage: Stage, tmp_path: Path) -> None:
    nodes, complaints = stage.partition_servers.nodes, list[str]()
    source = nodes.of_key(SOURCE)
    stage.bridge = bridge = Bridge(ROOT, tmp_path, nodes.settings, source, complaints.append)
    symbols = [symbol for i in range(4) for symbol in symbols_of(Names(i, 4))]
    feeder = Feeder(SOURCE, entries(1, 200, T0, symbols), T0, source, 1)
    feeder.start()
    bridge.start()
    try:
        for goal in (100, 200):
            feeder.goal = goal
            wait_until(lambda: is_brought(bridge, feeder), "it is brought")
            assert played(bridge_killed(stage, random.Random(goal)))
    finally:
        feeder.stop()
        bridge.close()
    found = [nodes.of(Names(i, 4)).master.command("XLEN", Names(i, 4).input) for i in range(4)]
    assert (sum(found), complaints) == (200, [])
    assert min(found) > 20


def is_brought(bridge: Bridge, feeder: Feeder) -> bool:
    bridge.watch()
    return bridge.behind(feeder) == 0


@pytest.mark.parametrize("name", [name for name in BREAKAGES if BREAKAGES[name].on_cluster])
def test_workers_to_be_broken_on_a_cluster_can_be_broken(name: str, tmp_path: Path) -> None:
    """Running them takes too long for a test: `scripts/chaos --break moved`."""
    copy_code(tmp_path, name)
