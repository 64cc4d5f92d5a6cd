"""scripts/verify.sh on a booted system: units and journal, then `marketstate verify`."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.deployment import FIRST, SECOND, Deployment


@pytest.fixture
def begun(deployed: Deployment) -> Iterator[Deployment]:
    """One worker that has just been started, so that earlier errors do not count."""
    deployed.machine.run("systemctl", "restart", FIRST)
    yield deployed
    deployed.machine.run("systemctl", "enable", "--now", FIRST)
    deployed.machine.run("systemctl", "disable", "--now", SECOND)


def verify(deployed: Deployment, *options: str) -> subprocess.CompletedProcess[str]:
    script = f"{deployed.checkout}/scripts/verify.sh"
    return deployed.machine.run(script, "--max-state-age=inf", *options, check=False)


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The verdict per subject; the worst if it has several lines."""
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        verdict, _, rest = line.partition(" ")
        subject = rest.strip().partition(": ")[0]
        if found.get(subject) != "FAIL":
            found[subject] = verdict
    return found


def test_everything_is_ok_on_a_running_system(begun: Deployment) -> None:
    done = verify(begun)
    assert done.returncode == 0, done.stdout + done.stderr
    found = verdicts(done)
    assert {found[FIRST], found[f"{FIRST} journal"], found["backlog"], found["workers"]} == {"ok"}


def test_json_has_an_object_per_line(begun: Deployment) -> None:
    done = verify(begun, "--json")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["subject"] for one in findings[:3]] == [FIRST, f"{FIRST} journal", "backlog"]
    assert {name for one in findings for name in one} == {"check", "verdict", "subject", "text"}


def test_a_unit_that_does_not_run_or_is_not_enabled_fails(begun: Deployment) -> None:
    machine = begun.machine
    machine.run("systemctl", "enable", SECOND)
    machine.run("systemctl", "disable", FIRST)
    done = verify(begun)
    assert done.returncode == 4
    assert (verdicts(done)[FIRST], verdicts(done)[SECOND]) == ("FAIL", "FAIL")
    assert f"{SECOND}: is inactive" in done.stdout
    assert f"{FIRST}: is active, but disabled: systemctl enable {FIRST}" in done.stdout
    assert verdicts(done)["backlog"] == "ok"


def test_an_error_in_the_journal_fails_until_the_next_start(begun: Deployment) -> None:
    machine = begun.machine
    for priority, expected in (("4", "ok"), ("3", "FAIL")):
        entry = (
            f'MESSAGE=out of "luck"\nPRIORITY={priority}\n'
            f"INVOCATION_ID={begun.show(FIRST, 'InvocationID')}\n"
        )
        machine.run("sh", "-c", f"printf '%s' '{entry}' | logger --journald; journalctl --sync")
        done = verify(begun, "--json")
        found = {one["subject"]: one for one in map(json.loads, done.stdout.splitlines())}
        assert found[f"{FIRST} journal"]["verdict"] == expected
    assert found[f"{FIRST} journal"]["text"] == 'out of "luck"'
    assert done.returncode == 4
    machine.run("systemctl", "restart", FIRST)
    assert verdicts(verify(begun))[f"{FIRST} journal"] == "ok"


def test_without_root_or_an_installation_it_says_what_is_missing(begun: Deployment) -> None:
    script = f"{begun.checkout}/scripts/verify.sh"
    done = begun.machine.run("setpriv", "--reuid=65534", "--clear-groups", script, check=False)
    assert done.returncode == 4
    assert "FAIL verify: only root can read the settings of the services: use sudo" in done.stdout
