"""`marketstate serve` as a process, and what browsers and others ask of it."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.processes import PATIENCE_S
from tests.support.worker_process import WorkerProcess

_ADDRESS = re.compile(r"serving at http://(127[\d.]+):(\d+)/")


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class PageServer(WorkerProcess):
    """On a free port of loopback, unless `options` say something else."""

    def __init__(
        self, port: int, folder: Path, *options: str, unix: Path | None = None, **settings: object
    ) -> None:
        self.unix = unix
        where = ("--unix", str(unix)) if unix else ("--listen", "127.0.0.1:0")
        super().__init__(port, folder, "serve", *where, *options, **settings)
        self.wait_for_log("serving at ")
        found = _ADDRESS.search(self.log)
        self.host = found[1] if found else ""
        self.port = int(found[2]) if found else 0

    def connect(self) -> socket.socket:
        if self.unix:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(self.unix))
        else:
            connection = socket.create_connection((self.host, self.port))
        connection.settimeout(PATIENCE_S)
        return connection

    def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """`_` in the names of headers stands for `-`."""
        request = http.client.HTTPConnection("localhost")
        request.sock = self.connect()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request.request(method, path, headers=given)
        response = request.getresponse()
        reply = Reply(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
        request.close()
        return reply

    def ask_raw(self, request: bytes) -> bytes:
        """What comes until the server closes the connection, also in the middle of the request."""
        got = b""
        with self.connect() as connection, suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
            while more := connection.recv(65_536):
                got += more
        return got


class Event(NamedTuple):
    id: str
    name: str
    document: Any


class Page:
    """An open stream of events."""

    def __init__(self, server: PageServer, last_id: str = "", path: str = "/events") -> None:
        self._request = http.client.HTTPConnection("localhost")
        self._request.sock = server.connect()
        self._request.request("GET", path, headers={"Last-Event-ID": last_id})
        self.response = self._request.getresponse()
        self.events = self._read() if self.response.status == 200 else iter(())

    def next(self, name: str) -> Event:
        """The next event of this name; others are passed over."""
        return next(event for event in self.events if event.name == name)

    def close(self) -> None:
        self.response.close()
        self._request.close()

    def _read(self) -> Iterator[Event]:
        fields = dict[str, str]()
        for line in self.response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
