"""deploy/redis on a booted system: the steps of its README, literally."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.candles import made_candles
from tests.support.checkout import ROOT
from tests.support.deployment import ENVIRONMENT, FIRST, PASSWORD, SECOND, Deployment
from tests.support.worker_process import feed, finished, wait_until, wait_until_finished

README = ROOT / "deploy" / "redis" / "README.md"
CHANGED = (
    *(ENVIRONMENT, PASSWORD),
    *(f"/etc/redis/{name}.conf" for name in ("redis", "marketstate", "users-marketstate")),
)


def steps(first: str, last: str) -> str:
    """The indented lines of the README from the one that starts with `first` to `last`."""
    lines = [line.strip() for line in README.read_text().splitlines() if line.startswith("    ")]
    begin = next(i for i, line in enumerate(lines) if line.startswith(first))
    return "\n".join(lines[begin : lines.index(last, begin) + 1])


@pytest.fixture
def restored(deployed: Deployment) -> Iterator[Deployment]:
    """One worker; restores afterwards whatever the test changes."""
    deployed.machine.run("systemctl", "disable", "--now", SECOND)
    paths = [deployed.machine.path(inside) for inside in CHANGED]
    before = [path.read_bytes() if path.exists() else None for path in paths]
    yield deployed
    for path, content in zip(paths, before, strict=True):
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
    deployed.machine.run("systemctl", "restart", "redis-server", FIRST)


def test_a_worker_with_its_own_user_on_a_durable_redis(restored: Deployment) -> None:
    """Set up as in the README, it does all its work, and Redis refuses nothing."""
    machine = restored.machine
    restart = "systemctl restart redis-server"
    for script in (
        steps("cp deploy/redis/marketstate.conf /etc/redis/", restart),
        steps("(umask 077", restart),
    ):
        machine.run("bash", "-euc", f"cd {restored.checkout}\n{script}")
    with machine.path(ENVIRONMENT).open("a") as environment:
        environment.write("MARKETSTATE_REDIS_USERNAME=marketstate\n")
    machine.run("systemctl", "restart", FIRST)
    with machine.redis() as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        done = finished(client)
        candles = made_candles(("ACLUSDT",), 258)
        feed(client, candles)
        wait_until_finished(client, done + len(candles))
        wait_until(lambda: client.exists("quantum:marketstate:ACLUSDT"), "a state is published")
        names = {one["user"] for one in client.client_list() if "marketstate" in one["name"]}
        assert names == {"marketstate"}
        said = machine.run(f"{restored.checkout}/scripts/verify.sh", "--max-state-age=inf").stdout
        refused: Any = client.acl_log()
        assert refused == []
    assert "FAIL" not in said
