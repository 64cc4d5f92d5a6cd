"""The other end of NOTIFY_SOCKET."""

import socket
from pathlib import Path

from tests.support.worker_process import wait_until


class Manager:
    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._seen = ""

    @property
    def heard(self) -> str:
        """All messages, one after the other."""
        while True:
            try:
                self._seen += self._socket.recv(65_536).decode() + "\n"
            except BlockingIOError:
                return self._seen

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.heard.count(text) >= times, f"{text!r} is heard:\n{self.heard}")

    def close(self) -> None:
        self._socket.close()
