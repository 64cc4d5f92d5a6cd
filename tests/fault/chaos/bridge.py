"""The bridge under test: `marketstate gather --partitions`, and the one stream that it brings."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis

from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.names import GROUP, SOURCE
from tests.fault.chaos.nodes import ServersOfKey
from tests.support.processes import MARKETSTATE, environment

GROUP_OF_BRIDGE: Final = f"{GROUP}-gather"
BETWEEN_RESTARTS_S: Final = 0.3
MOST_LOOKED_AT: Final = 1_000


class Bridge:
    """One process, started again whenever it ends, as by a service manager."""

    def __init__(
        self,
        code: Path,
        folder: Path,
        settings: dict[str, object],
        servers: ServersOfKey,
        complain: Callable[[str], None],
    ) -> None:
        self._code = code
        self._folder = folder
        self._settings = settings
        self._servers = servers
        self._complain = complain
        self._count = 0
        self._start_at_s: float | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._count += 1
        self._start_at_s = None
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*MARKETSTATE, "gather", SOURCE, "--partitions", "--max-length", "inf"],
                cwd=self._code,
                env=environment(**self._settings) | {"PYTHONPATH": str(self._code)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def kill(self, start_again_after_s: float) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._start_at_s = time.monotonic() + start_again_after_s

    def watch(self) -> None:
        """It may end if Redis is away at its start, or has gone back to what was before it."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            self._start_at_s = time.monotonic() + BETWEEN_RESTARTS_S
            if code != 3:
                end = self._log_path.read_text(errors="replace").splitlines()[-3:]
                self._complain(f"the bridge ended with {code}: {' | '.join(end)}")
        if self._start_at_s is not None and time.monotonic() >= self._start_at_s:
            self.start()

    def behind(self, feeder: Feeder) -> int | None:
        """How many entries are not in their partitions; None while Redis does not answer."""
        try:
            with self._servers.client() as client:
                groups: Any = client.xinfo_groups(SOURCE)
                group = next(one for one in groups if one["name"] == GROUP_OF_BRIDGE.encode())
                after = f"({group['last-delivered-id'].decode()}"
                unread: Any = client.xrange(SOURCE, after, count=MOST_LOOKED_AT)
        except (redis.RedisError, StopIteration):
            return None
        return int(group["pending"]) + len(unread) + max(0, feeder.goal - feeder.fed)

    def close(self) -> None:
        self.kill(start_again_after_s=float("inf"))

    @property
    def _log_path(self) -> Path:
        return self._folder / f"bridge-{self._count:03d}.log"
