"""`systemctl reload`: what may change without a restart, changes; the rest is named."""

from collections.abc import Iterator

import pytest

from tests.support.deployment import ENVIRONMENT, FIRST, SECOND, Deployment
from tests.support.worker_process import wait_until


@pytest.fixture
def begun(deployed: Deployment) -> Iterator[Deployment]:
    """Workers that have just been started; the settings are restored afterwards."""
    path = deployed.machine.path(ENVIRONMENT)
    before = path.read_text()
    deployed.machine.run("systemctl", "restart", FIRST)
    yield deployed
    path.write_text(before)
    deployed.machine.run("systemctl", "disable", "--now", SECOND)
    deployed.machine.run("systemctl", "restart", FIRST)


def change(deployed: Deployment, *lines: str) -> None:
    path = deployed.machine.path(ENVIRONMENT)
    path.write_text("\n".join([path.read_text(), *lines, ""]))


def wait_for_log(deployed: Deployment, unit: str, text: str) -> None:
    wait_until(lambda: text in since_start(deployed, unit), f"{unit} says {text!r}")


def since_start(deployed: Deployment, unit: str) -> str:
    started = f"_SYSTEMD_INVOCATION_ID={deployed.show(unit, 'InvocationID')}"
    return deployed.machine.run("journalctl", "--output=cat", "--no-pager", started).stdout


def test_a_reload_reaches_every_worker_and_restarts_none(begun: Deployment) -> None:
    begun.machine.run("systemctl", "enable", "--now", SECOND)
    begun.wait_until_active(FIRST, SECOND)
    before = [begun.show(unit, "MainPID") for unit in (FIRST, SECOND)]
    change(begun, "MARKETSTATE_LOG_LEVEL=DEBUG", "MARKETSTATE_BATCH=7")
    assert begun.machine.run("systemctl", "reload", FIRST, check=False).returncode != 0
    for unit in (FIRST, SECOND):
        wait_for_log(begun, unit, "MARKETSTATE_LOG_LEVEL is now DEBUG; it was INFO")
        wait_for_log(begun, unit, "a change of MARKETSTATE_BATCH needs a restart")
    change(begun, "MARKETSTATE_PUBLISH_INTERVAL=59")
    assert begun.machine.run("systemctl", "reload", FIRST, check=False).returncode != 0
    for unit in (FIRST, SECOND):
        wait_for_log(begun, unit, "MARKETSTATE_PUBLISH_INTERVAL stays 60: ")
    # The reload of the second one, which nobody waited for, may still be under way.
    begun.wait_until_active(FIRST, SECOND)
    assert [begun.show(unit, "MainPID") for unit in (FIRST, SECOND)] == before


def test_the_only_worker_takes_over_another_publish_interval(begun: Deployment) -> None:
    change(begun, "MARKETSTATE_PUBLISH_INTERVAL=59")
    begun.machine.run("systemctl", "reload", FIRST)
    wait_for_log(begun, FIRST, "MARKETSTATE_PUBLISH_INTERVAL is now 59; it was 60")
    assert begun.show(FIRST, "NRestarts") == "0"


def test_a_reload_with_wrong_settings_fails_and_the_worker_goes_on(begun: Deployment) -> None:
    before = begun.show(FIRST, "MainPID")
    change(begun, "MARKETSTATE_PUBLISH_INTERVAL=soon")
    assert begun.machine.run("systemctl", "reload", FIRST, check=False).returncode != 0
    assert "MARKETSTATE_PUBLISH_INTERVAL is 'soon'" in since_start(begun, FIRST)
    assert (begun.show(FIRST, "MainPID"), begun.show(FIRST, "ActiveState")) == (before, "active")
