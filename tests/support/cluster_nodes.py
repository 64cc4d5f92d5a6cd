"""Nodes of a Redis Cluster: how they join, what they say of themselves, and how slots move."""

import random
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from tests.support.worker_process import wait_until

BUS: Final = 10_000
"""How far the port for the other nodes is above that for clients; Redis 6.2 has no setting."""
FIRST_OF_CONNECTIONS: Final = 32_768
"""Linux gives ports from here on to connections, unless its administrator changes that."""
MIGRATE_TIMEOUT_MS: Final = 10_000


class Node(Protocol):
    port: int

    def command(self, *words: object) -> Any:
        """The reply as redis-py parses it."""


def options(node_timeout_ms: int) -> list[str]:
    """For the command line of the server. A node that is away stops only its own slots."""
    return [
        *("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms)),
        *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
    ]


def port_with_bus() -> int:
    """A free port, below another free one for the other nodes.

    Both are below those that the system gives to connections: one of these may come at any moment.
    """
    while True:
        port = random.randrange(10_000, FIRST_OF_CONNECTIONS - BUS)
        if is_free(port) and is_free(port + BUS):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def join(nodes: Sequence[Node], masters: int) -> None:
    """The first nodes become masters, and share all slots; the others are their replicas."""
    for number, node in enumerate(nodes):
        # Otherwise they settle it among themselves, which takes time.
        node.command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        if number < masters:
            first, end = (
                each * REDIS_CLUSTER_HASH_SLOTS // masters for each in (number, number + 1)
            )
            node.command("CLUSTER ADDSLOTS", *range(first, end))
        if number:
            node.command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
    _until_all(nodes, lambda node: len(node.command("CLUSTER NODES")) == len(nodes), "have met")
    for number, node in enumerate(nodes[masters:]):
        node.command("CLUSTER REPLICATE", id_of(nodes[number % masters]))
    _until_all(nodes, is_well, "are ready")


def id_of(node: Node) -> str:
    return str(node.command("CLUSTER MYID").decode())


def own_line(node: Node) -> dict[str, Any]:
    """What it says of itself in CLUSTER NODES."""
    lines: dict[str, dict[str, Any]] = node.command("CLUSTER NODES")
    return next(line for line in lines.values() if "myself" in line["flags"])


def is_master(node: Node) -> bool:
    return "master" in own_line(node)["flags"]


def is_replica_of(node: Node, master: Node) -> bool:
    return bool(own_line(node)["master_id"] == id_of(master))


def serves(node: Node, slot: int) -> bool:
    """Whether it is the master of the slot, by its own account."""
    line = own_line(node)
    ranges = ([*map(int, each)] for each in line["slots"])
    return "master" in line["flags"] and any(each[0] <= slot <= each[-1] for each in ranges)


def is_well(node: Node) -> bool:
    """It serves, knows who has each slot, all others are well in its eyes, and as a replica it is
    in sync.
    """
    lines = node.command("CLUSTER NODES").values()
    replication = node.command("INFO", "replication")
    cluster = node.command("CLUSTER INFO")
    return (
        cluster["cluster_state"] == "ok"
        and int(cluster["cluster_slots_assigned"]) == REDIS_CLUSTER_HASH_SLOTS
        and not any("fail" in line["flags"] for line in lines)
        and replication.get("master_link_status", "up") == "up"
    )


def keys_in(node: Node, slot: int, most: int) -> list[bytes]:
    found: list[bytes] = node.command("CLUSTER GETKEYSINSLOT", slot, most)
    return found


def start_moving(slot: int, source: Node, target: Node) -> None:
    target.command("CLUSTER SETSLOT", slot, "IMPORTING", id_of(source))
    source.command("CLUSTER SETSLOT", slot, "MIGRATING", id_of(target))


def move_keys(keys: Sequence[bytes], source: Node, target: Node) -> None:
    to = ("127.0.0.1", target.port, "", 0, MIGRATE_TIMEOUT_MS, "KEYS")
    source.command("MIGRATE", *to, *keys)


def end_moving(slot: int, source: Node, target: Node) -> None:
    for node in (target, source):
        node.command("CLUSTER SETSLOT", slot, "NODE", id_of(target))


def _until_all(nodes: Sequence[Node], condition: Callable[[Node], bool], what: str) -> None:
    wait_until(lambda: all(map(condition, nodes)), f"all nodes {what}")
