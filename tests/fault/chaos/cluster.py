"""The Redis side: the current master, and how another server takes its place."""

from pathlib import Path

from tests.fault.chaos.proxy import Proxy
from tests.fault.chaos.servers import RedisServer


class Cluster:
    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._count = 0
        self.servers: list[RedisServer] = []
        self.master = self._new()
        self.master.start_from_aof()
        self.proxy = Proxy(self.master.port)

    @property
    def port(self) -> int:
        """The master's own port, not the proxy's."""
        return self.master.port

    def start_replica(self) -> RedisServer:
        replica = self._new()
        master = ("127.0.0.1", str(self.master.port))
        replica.start("--appendonly", "no", "--replicaof", *master)
        return replica

    def switch_to(self, server: RedisServer) -> None:
        """A failover as clients see it: the address now leads to another server."""
        if server is not self.master:
            self.master.kill()
            self.servers.remove(self.master)
            self.master = server
        self.proxy.retarget(server.port)

    def close(self) -> None:
        self.proxy.close()
        for server in self.servers:
            server.kill()

    def _new(self) -> RedisServer:
        self._count += 1
        server = RedisServer(self._binary, self._folder / f"redis-{self._count}")
        self.servers.append(server)
        return server
