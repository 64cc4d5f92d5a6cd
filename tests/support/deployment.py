"""The project deployed on a booted machine, and the state of its units."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Final

import redis

from tests.support.checkout import ROOT, copy_checkout
from tests.support.machine import Machine
from tests.support.worker_process import INTERNAL_PREFIX, wait_until

CHECKOUT: Final = "/srv/marketstate"
WHEELS: Final = "/srv/wheels"
FIRST: Final = "quantum-marketstate.service"
SECOND: Final = "quantum-marketstate@2.service"
ENVIRONMENT: Final = "/etc/quantum/marketstate.env"
PASSWORD: Final = "/etc/quantum/marketstate.password"
DOCUMENTS: Final = "/opt/quantum/marketstate/current/documents"
SHARDS: Final = 16


def make_wheels(folder: Path) -> None:
    """All wheels for a deployment without a package index, for the Python that it will use."""
    python = subprocess.run(
        [ROOT / "scripts/python", "--for-services"], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    pip = [str(folder / "venv/bin/pip"), "download", "--quiet", "--disable-pip-version-check"]
    wanted = (f"--requirement={file}" for file in sorted((ROOT / "deploy/locked").glob("*.txt")))
    subprocess.run([*pip, f"--dest={folder}/wheels", *wanted], check=True)


class Deployment:
    """A copy of this checkout on the machine, from which `deploy` deploys."""

    def __init__(self, machine: Machine, wheels: Path) -> None:
        self.machine = machine
        shutil.copytree(wheels, machine.path(WHEELS))
        self.copy_checkout(CHECKOUT)

    checkout = CHECKOUT

    def copy_checkout(self, inside: str) -> Path:
        return copy_checkout(self.machine.path(inside))

    def deploy(
        self, *options: str, checkout: str = CHECKOUT, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        script = f"{checkout}/scripts/deploy.sh"
        return self.machine.run(script, "--wheels", WHEELS, *options, check=check)

    def shorten(self, *lines: str) -> None:
        """Override settings of both units until the next boot, to shorten waiting times."""
        for unit in (FIRST, "quantum-marketstate@.service"):
            path = self.machine.path(f"/run/systemd/system/{unit}.d/99-test.conf")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(["[Service]", *lines, ""]))
        self.machine.run("systemctl", "daemon-reload")

    def show(self, unit: str, name: str) -> str:
        (found,) = self.machine.show(unit, name)
        return found

    def pid(self, unit: str) -> int:
        return int(self.show(unit, "MainPID"))

    def wait_until_active(self, *units: str) -> None:
        wait_until(
            lambda: {"active"} == {self.show(unit, "ActiveState") for unit in units},
            f"{units} are active",
        )

    def current(self) -> str:
        return self.machine.run("readlink", "/opt/quantum/marketstate/current").stdout.strip()


def holders(client: redis.Redis) -> dict[str, int]:
    """How many shards each unit's worker holds."""
    leases: Any = client.mget([f"{INTERNAL_PREFIX}:lease:{shard:02d}" for shard in range(SHARDS)])
    workers = [token.decode().rpartition(":")[0] for token in leases if token]
    # A worker's id is `<host>-<unit>`.
    return dict(Counter(f"quantum-{id.partition('-quantum-')[2]}.service" for id in workers))
