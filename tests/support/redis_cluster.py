"""A Redis Cluster on loopback: masters and their replicas, and slots that move between them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.support.worker_process import wait_until
from worker.local.redis_server import EmbeddedRedis, free_port

BUS: Final = 10_000
"""How far the port for the other nodes is above that for clients; Redis 6.2 has no setting."""
KEYS_AT_ONCE: Final = 10
MIGRATE_TIMEOUT_MS: Final = 10_000


class ClusterNode(EmbeddedRedis):
    def __init__(self, binary: Path | None, node_timeout_ms: int, *options: str) -> None:
        super().__init__(
            binary,
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms)),
            *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
            *options,
        )
        self.port = port_with_bus()

    def call(self, *words: object) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    @property
    def node_id(self) -> str:
        return str(self.call("CLUSTER MYID").decode())

    def cluster_info(self) -> dict[str, str]:
        """As redis-py parses it."""
        found: dict[str, str] = self.call("CLUSTER INFO")
        return found

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def own_line(self) -> dict[str, Any]:
        """What it says of itself in CLUSTER NODES, as redis-py parses it."""
        lines: dict[str, dict[str, Any]] = self.call("CLUSTER NODES")
        return next(line for line in lines.values() if "myself" in line["flags"])

    def serves(self, slot: int) -> bool:
        line = self.own_line()
        ranges = ([*map(int, each)] for each in line["slots"])
        return "master" in line["flags"] and any(each[0] <= slot <= each[-1] for each in ranges)

    def keys_in(self, slot: int, most: int) -> list[bytes]:
        found: list[bytes] = self.call("CLUSTER GETKEYSINSLOT", slot, most)
        return found


class LocalCluster:
    """A context manager that starts and ends it. The first nodes are masters."""

    def __init__(
        self,
        binary: Path | None = None,
        *options: str,
        masters: int = 3,
        replicas: int = 0,
        node_timeout_ms: int = 2_000,
    ) -> None:
        """`replicas` are those of each master; `options` are for every server."""
        self._masters = masters
        self.nodes = [
            ClusterNode(binary, node_timeout_ms, *options) for _ in range(masters * (1 + replicas))
        ]

    @property
    def url(self) -> str:
        return url_of(*self.nodes)

    def client(self) -> redis.RedisCluster:
        return redis.RedisCluster(host="127.0.0.1", port=self.nodes[0].port, protocol=2)

    def owner(self, key: str) -> ClusterNode:
        """The master whose keys include `key`, by its own account; waits while there is none."""
        slot = key_slot(key.encode())
        wait_until(lambda: self._serving(slot), f"a node serves slot {slot}")
        return self._serving(slot)[0]

    def replica_of(self, master: ClusterNode) -> ClusterNode:
        master_id = master.node_id
        return next(node for node in self.running if node.own_line()["master_id"] == master_id)

    @property
    def running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_running]

    @property
    def masters(self) -> list[ClusterNode]:
        return [node for node in self.running if "master" in node.own_line()["flags"]]

    def _serving(self, slot: int) -> list[ClusterNode]:
        return [node for node in self.running if node.serves(slot)]

    def start_moving(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        target.call("CLUSTER SETSLOT", slot, "IMPORTING", source.node_id)
        source.call("CLUSTER SETSLOT", slot, "MIGRATING", target.node_id)

    def move_keys(self, keys: Sequence[bytes], source: ClusterNode, target: ClusterNode) -> None:
        to = ("127.0.0.1", target.port, "", 0, MIGRATE_TIMEOUT_MS, "KEYS")
        source.call("MIGRATE", *to, *keys)

    def end_moving(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        for node in (target, source):
            node.call("CLUSTER SETSLOT", slot, "NODE", target.node_id)

    def move(self, key: str, target: ClusterNode) -> None:
        """The slot of `key`, with all that is in it."""
        slot, source = key_slot(key.encode()), self.owner(key)
        self.start_moving(slot, source, target)
        while keys := source.keys_in(slot, KEYS_AT_ONCE):
            self.move_keys(keys, source, target)
        self.end_moving(slot, source, target)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            _join(self.nodes, self._masters)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def url_of(*nodes: ClusterNode) -> str:
    return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in nodes)}/"


def port_with_bus() -> int:
    """A free port, and the one above it for the other nodes is free too."""
    while True:
        port = free_port()
        if port + BUS < 65_536:
            return port


def _join(nodes: Sequence[ClusterNode], masters: int) -> None:
    for number, node in enumerate(nodes):
        # Otherwise they settle it among themselves, which takes time.
        node.call("CLUSTER SET-CONFIG-EPOCH", number + 1)
        if number < masters:
            first, end = (
                each * REDIS_CLUSTER_HASH_SLOTS // masters for each in (number, number + 1)
            )
            node.call("CLUSTER ADDSLOTS", *range(first, end))
        if number:
            node.call("CLUSTER MEET", "127.0.0.1", nodes[0].port)
    _until_all(nodes, lambda node: len(node.call("CLUSTER NODES")) == len(nodes), "know the others")
    for number, node in enumerate(nodes[masters:]):
        node.call("CLUSTER REPLICATE", nodes[number % masters].node_id)
    _until_all(nodes, lambda node: node.cluster_info()["cluster_state"] == "ok", "are ready")
    _until_all(nodes[masters:], _is_in_sync, "are in sync")


def _until_all(
    nodes: Sequence[ClusterNode], condition: Callable[[ClusterNode], bool], what: str
) -> None:
    wait_until(lambda: all(map(condition, nodes)), f"all nodes {what}")


def _is_in_sync(node: ClusterNode) -> bool:
    with node.client() as client:
        found: Any = client.info("replication")
    return bool(found["role"] == "slave" and found["master_link_status"] == "up")
