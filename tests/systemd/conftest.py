"""One booted systemd for all tests in this folder; they run one after the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, make_wheels
from tests.support.machine import Machine, missing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The test that removes the deployment comes last.
    items.sort(key=lambda item: item.path == HERE / "test_uninstall.py")


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A booted machine with Debian's redis-server running as a unit, and none of our files."""
    if reason := missing():
        pytest.skip(reason)
    with Machine() as machine:
        machine.start_redis()
        yield machine


@pytest.fixture(scope="session")
def deployed(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """One worker, deployed by scripts/deploy.sh on a clean system."""
    folder = tmp_path_factory.mktemp("deployment")
    make_wheels(folder)
    deployment = Deployment(machine, folder / "wheels")
    deployment.deploy()
    return deployment
