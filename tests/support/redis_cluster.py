"""A Redis Cluster on loopback: masters and their replicas, started and ended by a test."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from redis.crc import key_slot

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.cluster_nodes import (
    end_moving,
    is_master,
    is_replica_of,
    join,
    keys_in,
    move_keys,
    options,
    port_with_bus,
    serves,
    start_moving,
)
from tests.support.worker_process import wait_until

KEYS_AT_ONCE: Final = 10


class ClusterNode(EmbeddedRedis):
    def __init__(self, binary: Path | None, *options: str) -> None:
        super().__init__(binary, *options)
        self.port = port_with_bus()

    def command(self, *words: object) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    @property
    def is_running(self) -> bool:
        return self._process is not None


class LocalCluster:
    """A context manager. The first nodes are masters."""

    def __init__(
        self,
        binary: Path | None = None,
        *more: str,
        masters: int = 3,
        replicas: int = 0,
        node_timeout_ms: int = 2_000,
    ) -> None:
        """`replicas` are those of each master; `more` are options of every server."""
        self._masters = masters
        self.nodes = [
            ClusterNode(binary, *options(node_timeout_ms), *more)
            for _ in range(masters * (1 + replicas))
        ]

    @property
    def url(self) -> str:
        return url_of(*self.nodes)

    @property
    def running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_running]

    @property
    def masters(self) -> list[ClusterNode]:
        return [node for node in self.running if is_master(node)]

    def owner(self, key: str) -> ClusterNode:
        """The master whose keys include `key`; waits while there is none."""
        slot = key_slot(key.encode())
        wait_until(lambda: self._serving(slot), f"a node serves slot {slot}")
        return self._serving(slot)[0]

    def replica_of(self, master: ClusterNode) -> ClusterNode:
        return next(node for node in self.running if is_replica_of(node, master))

    def move(self, key: str, target: ClusterNode) -> None:
        """The slot of `key`, with all that is in it."""
        slot, source = key_slot(key.encode()), self.owner(key)
        start_moving(slot, source, target)
        while keys := keys_in(source, slot, KEYS_AT_ONCE):
            move_keys(keys, source, target)
        end_moving(slot, source, target)

    def _serving(self, slot: int) -> list[ClusterNode]:
        return [node for node in self.running if serves(node, slot)]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            join(self.nodes, self._masters)
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
