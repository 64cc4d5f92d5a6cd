"""One Redis, which workers reach through a proxy, and how another server takes its place."""

from pathlib import Path
from typing import Self

import redis

from tests.fault.chaos.clock import Clock
from tests.fault.chaos.names import Names
from tests.fault.chaos.proxy import Proxy
from tests.fault.chaos.servers import RedisServer, open_client


class OneServer:
    def __init__(self, binary: Path, folder: Path, clock_library: Path, older: Path | None) -> None:
        """Begins with the `older` binary, if there is one, to be upgraded later."""
        self._newer = binary
        self._binary = older or binary
        self._folder = folder
        self._clock_library = clock_library
        self._count = 0
        self.servers: list[RedisServer] = []
        self.master = self._new()
        self.master.start_from_aof()
        self.proxy = Proxy(self.master.port)

    def client(self) -> redis.Redis:
        """To the master itself, not through the proxy."""
        return open_client(self.master.port)

    @property
    def known_port(self) -> int:
        return self.master.port

    @property
    def settings(self) -> dict[str, object]:
        """For workers: how to connect."""
        return {"redis_port": self.proxy.port}

    def of(self, _names: Names) -> Self:
        return self

    def server_of(self, _key: str) -> RedisServer:
        return self.master

    def are_settled(self) -> bool:
        return True

    def start_replica(self) -> RedisServer:
        replica = self._new()
        master = ("127.0.0.1", str(self.master.port))
        replica.start("--appendonly", "no", "--replicaof", *master)
        return replica

    def switch_to(self, server: RedisServer) -> None:
        """A failover as clients see it: the address now leads to another server."""
        if server is not self.master:
            self.remove(self.master)
            self.master = server
        self.proxy.retarget(server.port)

    def remove(self, server: RedisServer) -> None:
        server.kill()
        self.servers.remove(server)

    def upgrade(self) -> None:
        """From the next start on."""
        self._binary = self.master.binary = self._newer

    def close(self) -> None:
        self.proxy.close()
        for server in self.servers:
            server.kill()

    def _new(self) -> RedisServer:
        self._count += 1
        folder = self._folder / f"redis-{self._count}"
        clock = Clock(self._clock_library, self._folder / f"redis-{self._count}.clock")
        server = RedisServer(self._binary, folder, clock)
        self.servers.append(server)
        return server
