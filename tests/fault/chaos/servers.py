"""A Redis server process that can be killed and started again from its AOF or its snapshot."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fault.chaos.clock import Clock
from tests.fault.chaos.trouble import HarnessTrouble
from tests.support.acl import users
from tests.support.redis_versions import version_of

START_TIMEOUT_S: Final = 60.0
WORKERS_USER: Final = "marketstate"
"""Workers have the rights of deploy/redis/users.acl, and no more; the harness has all."""
WORKERS_PASSWORD: Final = "chaos"


def open_client(port: int) -> redis.Redis:
    """A client that never retries a command automatically."""
    return redis.Redis(
        host="127.0.0.1", port=port, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=60
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise HarnessTrouble(f"timed out after {timeout_s:.0f} s waiting until {what}")
        time.sleep(0.02)


class RedisServer:
    """Port, folder and clock stay the same across restarts."""

    def __init__(self, binary: Path, folder: Path, clock: Clock) -> None:
        self.port = free_port()
        self.binary = binary
        """May be replaced by that of a newer version before the next start."""
        self.clock = clock
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    def start(self, *options: str) -> None:
        """`options` are those of the command line: `"--appendonly", "yes"`."""
        rules = users(self.version)[WORKERS_USER]
        acl = self._folder / "users.acl"
        acl.write_text(f"user {WORKERS_USER} {rules} >{WORKERS_PASSWORD}\n")
        self._process = subprocess.Popen(
            [
                *(str(self.binary), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self._folder), "--logfile", str(self._folder / "redis.log")),
                *("--save", "", "--rdbcompression", "no", "--repl-diskless-sync-delay", "0"),
                *("--aclfile", str(acl)),
                *options,
            ],
            env=os.environ | self.clock.environment,
            start_new_session=True,
        )
        wait_for(self._answers, f"Redis on port {self.port} answers")

    @property
    def loads_libraries(self) -> bool:
        """Otherwise it is linked statically, and nothing sets its clock."""
        assert self._process is not None
        return ".so" in Path(f"/proc/{self._process.pid}/maps").read_text()

    @property
    def version(self) -> str:
        return ".".join(map(str, version_of(self.binary)))

    def start_from_aof(self) -> None:
        self.start("--appendonly", "yes")

    def start_from_snapshot(self, *options: str) -> None:
        """Remove the AOF first, because it is ahead of the snapshot."""
        shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)
        (self._folder / "appendonly.aof").unlink(missing_ok=True)
        self.start("--appendonly", "no", *options)

    def begin_aof(self) -> None:
        """Start an AOF; it is usable once `aof_is_complete`."""
        self.command("CONFIG", "SET", "appendonly", "yes")

    def aof_is_complete(self) -> bool:
        info = self.info()
        wanted = {
            "aof_enabled": 1,
            "aof_rewrite_in_progress": 0,
            "aof_rewrite_scheduled": 0,
            "aof_last_bgrewrite_status": "ok",
        }
        return wanted == {name: info[name] for name in wanted}

    def command(self, *parts: object) -> Any:
        with open_client(self.port) as client:
            return client.execute_command(*parts)

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self.command("INFO")
        return found

    def refused(self, code: str) -> int:
        """How many commands were refused with this code since the last start."""
        with open_client(self.port) as client:
            counted: Any = client.info("errorstats").get(f"errorstat_{code}", {})
        return int(counted.get("count", 0))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = (self._folder / "redis.log").read_text(errors="replace")
            raise HarnessTrouble(f"Redis in {self._folder} did not start: {log[-800:]}")
        try:
            return bool(self.command("PING"))
        except redis.RedisError:
            return False
