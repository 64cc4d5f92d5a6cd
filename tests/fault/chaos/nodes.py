"""A Redis Cluster of three masters and three replicas, which workers reach through proxies."""

import signal
from pathlib import Path
from typing import Any, Final

import redis
from redis.crc import key_slot

from tests.fault.chaos.clock import Clock
from tests.fault.chaos.names import Names
from tests.fault.chaos.proxy import Proxy
from tests.fault.chaos.servers import RedisServer, open_client
from tests.support.cluster_nodes import (
    is_master,
    is_replica_of,
    is_well,
    join,
    options,
    port_with_bus,
    serves,
)

MASTERS: Final = 3
REPLICAS: Final = 3
NODE_TIMEOUT_MS: Final = 1_500


class ClusterServer(RedisServer):
    """Clients learn the port of its proxy. So do the replicas, which the proxy leaves in peace."""

    def __init__(self, binary: Path, folder: Path, clock: Clock) -> None:
        super().__init__(binary, folder, clock)
        self.port = port_with_bus()
        self.proxy = Proxy(self.port)
        self.is_running = False
        self.is_paused = False

    @property
    def answers(self) -> bool:
        return self.is_running and not self.is_paused

    def pause(self) -> None:
        self.is_paused = True
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)
        self.is_paused = False

    def command(self, *parts: object) -> Any:
        """The harness has one thread, which resumes what is paused: it must not wait for that."""
        if self.is_paused:
            raise redis.TimeoutError(f"the server on port {self.port} is paused")
        return super().command(*parts)

    def start(self, *more: str) -> None:
        announced = ["--cluster-announce-ip", "127.0.0.1"]
        announced += ["--cluster-announce-port", str(self.proxy.port)]
        super().start(*options(NODE_TIMEOUT_MS), *announced, *more)
        self.is_running = True

    def kill(self) -> None:
        self.is_running = False
        super().kill()


class Nodes:
    def __init__(self, binary: Path, folder: Path, clock_library: Path, partitions: int) -> None:
        self._partitions = partitions
        self.servers = [
            ClusterServer(binary, folder / name, Clock(clock_library, folder / f"{name}.clock"))
            for name in (f"node-{number}" for number in range(MASTERS + REPLICAS))
        ]
        try:
            for server in self.servers:
                server.start_from_aof()
            join(self.servers, MASTERS)
        except BaseException:
            self.close()
            raise

    @property
    def settings(self) -> dict[str, object]:
        """For workers: how to connect."""
        hosts = ",".join(f"127.0.0.1:{server.proxy.port}" for server in self.servers)
        return {"redis_url": f"redis+cluster://{hosts}", "partitions": self._partitions}

    def of(self, names: Names) -> "ServersOfKey":
        return self.of_key(names.input)

    def of_key(self, key: str) -> "ServersOfKey":
        return ServersOfKey(self, key_slot(key.encode()))

    def are_settled(self) -> bool:
        """All serve, and each master has a replica in sync."""
        try:
            return all(server.answers and is_well(server) for server in self.servers)
        except redis.RedisError:
            return False

    def close(self) -> None:
        for server in self.servers:
            server.proxy.close()
            server.kill()


class ServersOfKey:
    """The master of a key's slot, whichever it is, as faults and feeders need it."""

    def __init__(self, nodes: Nodes, slot: int) -> None:
        self.nodes = nodes
        self.slot = slot
        self._last = nodes.servers[0]

    @property
    def master(self) -> ClusterServer:
        """While there is none: the last one."""
        for server in sorted(self.nodes.servers, key=lambda server: server is not self._last):
            try:
                if server.answers and serves(server, self.slot):
                    self._last = server
                    break
            except redis.RedisError:
                continue
        return self._last

    @property
    def known_port(self) -> int:
        return self._last.port

    def client(self) -> redis.Redis:
        master = self.master
        if not master.answers:
            raise redis.ConnectionError("the slot has no master now")
        return open_client(master.port)

    def server_of(self, key: str) -> ClusterServer:
        return self.nodes.of_key(key).master

    def are_settled(self) -> bool:
        return self.nodes.are_settled()

    @property
    def proxy(self) -> Proxy:
        return self.master.proxy

    def replica(self) -> ClusterServer | None:
        master = self.master
        answering = (server for server in self.nodes.servers if server.answers)
        return next((server for server in answering if is_replica_of(server, master)), None)

    def other_masters(self) -> list[ClusterServer]:
        ours = self.master
        answering = (server for server in self.nodes.servers if server.answers)
        return [server for server in answering if server is not ours and is_master(server)]
