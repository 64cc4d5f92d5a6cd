"""Changing releases with scripts/deploy.sh: forward, back, and automatically back."""

from pathlib import Path

import pytest

from tests.support.deployment import ENVIRONMENT, FIRST, SECOND, Deployment

OTHER = "/srv/next"


@pytest.fixture(scope="module")
def other(deployed: Deployment) -> Path:
    """A checkout that gives another release."""
    checkout = deployed.copy_checkout(OTHER)
    (checkout / "README.md").write_text("another release")
    return checkout


def test_a_release_that_does_not_become_ready_is_replaced_by_the_previous_one(
    deployed: Deployment, other: Path
) -> None:
    """Its check passes, but its worker does not start."""
    before = deployed.current()
    service = other / "worker/commands/worker.py"
    original = service.read_text()
    service.write_text(original.replace("    run(settings, stop, notifier)", "    return 1"))
    done = deployed.deploy(checkout=OTHER, check=False)
    service.write_text(original)
    assert done.returncode == 1, done.stdout
    assert f"{before.rpartition('/')[2]} runs again" in done.stdout
    assert deployed.current() == before
    assert deployed.show(FIRST, "ActiveState") == "active"


def test_settings_that_fail_the_check_do_not_affect_running_workers(deployed: Deployment) -> None:
    before = deployed.machine.show(FIRST, "InvocationID"), deployed.current()
    environment = deployed.machine.path(ENVIRONMENT)
    original = environment.read_text()
    try:
        environment.write_text(original + "MARKETSTATE_SHARDS=8\n")
        done = deployed.deploy(check=False)
    finally:
        environment.write_text(original)
    assert done.returncode == 1
    assert "MARKETSTATE_SHARDS is 8, but the group 'marketstate' was created with 16" in done.stdout
    assert "the check failed; the previous release still runs" in done.stdout
    assert (deployed.machine.show(FIRST, "InvocationID"), deployed.current()) == before


def test_settings_that_differ_from_those_of_our_running_workers_are_applied(
    deployed: Deployment,
) -> None:
    environment = deployed.machine.path(ENVIRONMENT)
    original = environment.read_text()
    try:
        environment.write_text(original + "MARKETSTATE_PUBLISH_INTERVAL=59\n")
        said = deployed.deploy("--", "--max-state-age=inf").stdout
    finally:
        environment.write_text(original)
    assert "Those workers run on this machine; they will be restarted" in said
    assert "publish_interval=59 " in deployed.machine.journal(FIRST)
    deployed.deploy("--", "--max-state-age=inf")


@pytest.mark.usefixtures("other")
def test_a_new_release_a_second_worker_and_back(deployed: Deployment) -> None:
    before = deployed.current()
    said = deployed.deploy("--workers", "2", "--", "--max-state-age=inf", checkout=OTHER).stdout
    assert "runs with 2 worker(s)" in said
    new = deployed.current()
    assert before != new
    for unit in (FIRST, SECOND):
        found = deployed.machine.show(unit, "ActiveState", "UnitFileState")
        assert found == ["active", "enabled"]
        command = deployed.machine.path(f"/proc/{deployed.pid(unit)}/cmdline").read_text()
        assert new in command
    deployed.deploy("--rollback", "--", "--max-state-age=inf")
    assert deployed.current() == before
    for unit in (FIRST, SECOND):
        command = deployed.machine.path(f"/proc/{deployed.pid(unit)}/cmdline").read_text()
        assert before in command
    deployed.deploy("--workers", "1", "--", "--max-state-age=inf")
    found = deployed.machine.show(SECOND, "ActiveState", "UnitFileState")
    assert found == ["inactive", "disabled"]
