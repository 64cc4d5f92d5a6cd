"""From real candles to synthetic prices and back, as operators do it."""

from typing import Any

import pytest

from tests.support.deployment import ENVIRONMENT, FIRST, Deployment
from tests.support.worker_process import OUTPUT

SAID = "SYNTHETIC PRICES: MARKETSTATE_SOURCE is synthetic"


def switch_to(deployed: Deployment, source: str) -> None:
    expression = f"s/MARKETSTATE_SOURCE=.*/MARKETSTATE_SOURCE={source}/"
    deployed.machine.run("sed", "-i", expression, ENVIRONMENT)


@pytest.fixture
def outputs_restored(deployed: Deployment) -> Any:
    """The tests that follow find only states of candles."""
    with deployed.machine.redis() as client:
        before: dict[bytes, Any] = {key: client.dump(key) for key in outputs(client)}
        yield
        client.delete(*outputs(client))
        for key, dump in before.items():
            client.restore(key, 0, dump)


def outputs(client: Any) -> list[bytes]:
    keys: list[bytes] = [*client.keys("quantum:marketstate:*"), OUTPUT.encode()]
    return [key for key in keys if client.exists(key)]


@pytest.mark.usefixtures("outputs_restored")
def test_a_host_is_switched_to_synthetic_prices_only_if_somebody_says_so_and_back(
    deployed: Deployment,
) -> None:
    before = deployed.machine.show(FIRST, "InvocationID")
    switch_to(deployed, "synthetic")
    try:
        done = deployed.deploy(check=False)
        assert (done.returncode, f"{SAID} in {ENVIRONMENT}" in done.stdout) == (2, True)
        assert deployed.machine.show(FIRST, "InvocationID") == before
        said = deployed.deploy("--synthetic", "--", "--max-state-age=inf").stdout
        assert f"warn {SAID}: what these workers publish" in said
        assert said.endswith("SYNTHETIC PRICES: what these workers publish is invented\n")
        status = deployed.show(FIRST, "StatusText")
        assert status.startswith("SYNTHETIC PRICES, holding 16 of 16 shards")
        assert f"quantum-marketstate[{deployed.pid(FIRST)}]: warn {SAID}" in journal(deployed)
    finally:
        switch_to(deployed, "candles")
        done = deployed.deploy("--", "--max-state-age=inf", check=False)
    assert (done.returncode, "FAIL SYNTHETIC PRICES: " in done.stdout) == (4, True)
    assert deployed.show(FIRST, "StatusText").startswith("holding 16 of 16 shards")


def journal(deployed: Deployment) -> str:
    """All that the workers logged, by the name that they log under."""
    return deployed.machine.run("journalctl", "--no-pager", "-t", "quantum-marketstate").stdout
