"""A separate systemd for tests, booted over a throw-away copy of this machine.

It needs no virtual machine and no container tools: `unshare` creates namespaces, an overlay makes
the copy, and `nsenter` runs commands in it. The network has only its own loopback, so all ports are
free, and nothing started inside is visible outside. Needs root on Linux; `missing` says what else.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis

BOOT: Final = Path(__file__).parent / "machine_boot.sh"
CGROUPS: Final = Path("/sys/fs/cgroup")
SYSTEMD: Final = Path("/lib/systemd/systemd")
NEEDED: Final = ("unshare", "nsenter", "setpriv", "systemctl", "redis-server")
BOOT_TIMEOUT_S: Final = 60.0
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REDIS_SOCKET: Final = "/run/redis/redis-server.sock"


def missing() -> str:
    """Why no machine can be booted here; empty if one can."""
    if not SYSTEMD.exists() or os.geteuid() != 0:
        return "booting systemd needs root on Linux with systemd"
    if tools := [tool for tool in NEEDED if shutil.which(tool) is None]:
        return f"not installed: {', '.join(tools)}"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else "this root user may not create namespaces"


class Machine:
    """A booted systemd. `run` runs a command in it; `path` gives one of its files from outside."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self._cgroups = list(_own_cgroups(self._folder.name))
        self._log = (self._folder / "boot.log").open("wb")
        (self._folder / "top").mkdir()
        self._outer = subprocess.Popen(
            [
                # If the tests are killed, it is killed too.
                *(
                    "setpriv",
                    "--pdeathsig=KILL",
                    "unshare",
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                ),
                *("--uts", "--ipc", "--net", "--cgroup"),
                *(str(BOOT), str(self._folder / "top")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # Enter the cgroups before --cgroup makes them the roots for everything inside.
            preexec_fn=self._enter_cgroups,  # noqa: PLW1509  no threads here
        )
        self._pid = 0
        try:
            self._wait_until_booted()
        except BaseException:
            self.close()
            raise

    def run(
        self,
        *command: str,
        check: bool = True,
        text_in: str = "",
        timeout_s: float = 300,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run as root inside, with a fresh login environment. Output and errors are merged."""
        done = subprocess.run(
            [
                *("nsenter", "--target", str(self._pid)),
                *("--mount", "--pid", "--uts", "--ipc", "--net"),
                *("env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"),
                *(f"{name}={value}" for name, value in environment.items()),
                *command,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            input=text_in,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
        return done

    def path(self, inside: str) -> Path:
        return Path(f"/proc/{self._pid}/root{inside}")

    def show(self, unit: str, *names: str) -> list[str]:
        """Properties of a unit, in the order of `names`."""
        lines = self.run("systemctl", "show", unit, *(f"--property={n}" for n in names)).stdout
        found = dict(line.split("=", 1) for line in lines.splitlines() if "=" in line)
        return [found.get(name, "") for name in names]

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--unit", unit, "--output=cat", "--no-pager").stdout

    def start_redis(self, *settings: str) -> None:
        """Start Debian's redis-server unit: empty, on the usual port, and on a socket for tests."""
        configuration = self.path("/etc/redis/redis.conf")
        lines = ["appendonly yes", f"unixsocket {REDIS_SOCKET}", "unixsocketperm 700", *settings]
        configuration.write_text("\n".join([configuration.read_text(), *lines, ""]))
        self.run("sh", "-c", "rm -rf /var/lib/redis/*")
        self.run("systemctl", "enable", "redis-server")
        self.run("systemctl", "start", "redis-server")

    def redis(self, **options: str) -> redis.Redis:
        """A client from outside; `options` are those of redis.Redis, such as username."""
        return redis.Redis(unix_socket_path=str(self.path(REDIS_SOCKET)), **options)  # type: ignore[arg-type]

    def close(self) -> None:
        if self._pid:
            # When its first process ends, all others end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        else:
            self._outer.kill()
        self._outer.wait()
        self._log.close()
        for cgroup in self._cgroups:
            _remove(cgroup)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _enter_cgroups(self) -> None:
        for cgroup in self._cgroups:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))

    def _wait_until_booted(self) -> None:
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        until_s = time.monotonic() + BOOT_TIMEOUT_S
        state = ""
        while state not in ("running", "degraded"):
            if self._outer.poll() is not None or time.monotonic() > until_s:
                said = (self._folder / "boot.log").read_text(errors="replace")[-2_000:]
                raise AssertionError(f"systemd does not boot; its state is {state!r}: {said}")
            time.sleep(0.05)
            self._pid = self._pid or int(children.read_text().strip() or 0)
            if self._pid and Path(f"/proc/{self._pid}/comm").read_text().strip() == "systemd":
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()


def _own_cgroups(name: str) -> Iterator[Path]:
    """A new cgroup in each hierarchy, so that units of several machines do not clash."""
    is_unified = (CGROUPS / "cgroup.controllers").exists()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "cpuset":
            continue  # systemd does not use it, and a new one accepts no process
        if is_unified:
            # A cgroup that has processes, such as ours, cannot delegate controllers.
            cgroup = CGROUPS / name
        else:
            hierarchy = controllers.removeprefix("name=") or "unified"
            cgroup = CGROUPS / hierarchy / path.lstrip("/") / name
        cgroup.mkdir()
        yield cgroup


def _remove(cgroup: Path) -> None:
    """A cgroup can be removed as soon as its last process has ended."""
    until_s = time.monotonic() + 10
    while cgroup.exists() and time.monotonic() < until_s:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        time.sleep(0.01)
