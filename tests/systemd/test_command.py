"""`quantum-marketstate COMMAND` is `marketstate COMMAND` with the settings of the services."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import ENVIRONMENT, FIRST, PASSWORD, SECOND, Deployment
from tests.support.machine import Machine

COMMAND = "quantum-marketstate"
OWN = "/etc/quantum/marketstate@2.env"
EMPTY = "a_replay_that_nobody_began"


@pytest.fixture
def here(deployed: Deployment) -> Iterator[Machine]:
    """Restores the settings that a test changes; the services never see the change."""
    path = deployed.machine.path(ENVIRONMENT)
    before = path.read_text()
    yield deployed.machine
    path.write_text(before)
    deployed.machine.path(PASSWORD).unlink(missing_ok=True)


@pytest.fixture
def own_settings(here: Machine) -> Iterator[Path]:
    path = here.path(OWN)
    yield path
    path.unlink(missing_ok=True)


def said(machine: Machine, *words: str, **variables: str) -> tuple[int, str]:
    given = [f"{name}={value}" for name, value in variables.items()]
    done = machine.run("env", *given, COMMAND, *words, check=False)
    return done.returncode, done.stdout


def test_a_file_that_it_writes_is_there(here: Machine) -> None:
    """It was in a private /tmp, and gone."""
    with here.redis() as client:
        client.xadd("another-stream", {"any": "entry"})
        code, text = said(here, "record", "/tmp/recorded.gz", "--stream", "another-stream")
        client.delete("another-stream")
    assert (code, "1 entries" in text) == (0, True), text
    assert here.path("/tmp/recorded.gz").exists()


def test_files_and_pipes_are_those_of_your_folder(here: Machine) -> None:
    """A home directory: services cannot read it."""
    here.path("/root/work").mkdir()
    prices = "\n".join(str(100 + i % 7) for i in range(300))
    here.path("/root/work/prices.csv").write_text(prices)
    line = f"cd /root/work && {COMMAND} state prices.csv | head -n 2"
    done = here.run("sh", "-c", line)
    assert "300" in done.stdout


def test_its_exit_code_and_its_errors_are_those_of_the_command(here: Machine) -> None:
    assert said(here, "state", "/nowhere.csv")[0] == 2
    done = here.run("sh", "-c", f"{COMMAND} status --no-such-option 2>/dev/null", check=False)
    assert (done.returncode, done.stdout) == (2, "")


def test_your_variables_win_over_the_settings_of_the_services(here: Machine) -> None:
    """A variable in front was dropped, and the live group was shown."""
    assert said(here, "status")[0] == 0
    for command in ("status", "check"):
        _, text = said(here, command, MARKETSTATE_REPLAY_NAMESPACE=EMPTY)
        assert f"replay-{EMPTY}" in text
        assert f"replay-{EMPTY}" not in said(here, command)[1]


def test_settings_mean_the_same_as_in_the_services(here: Machine) -> None:
    """systemd reads them: with its quotes, and its line continuation."""
    path = here.path(ENVIRONMENT)
    path.write_text(path.read_text() + 'MARKETSTATE_GROUP="from-\\\nthe-file"\n')
    for command in ("status", "check"):
        assert "from-the-file" in said(here, command)[1]


def test_check_says_which_worker_it_is_about_and_knows_the_settings_of_others(
    here: Machine, own_settings: Path
) -> None:
    """A mistake in the settings of one worker was found when it did not start."""
    own_settings.write_text("MARKETSTATE_BATCH=none\n")
    text = here.run("sh", "-c", f"{COMMAND} check 2>&1", check=True).stdout
    assert (
        f"checks {FIRST.removesuffix('.service')}, which has the settings of {ENVIRONMENT}\n"
        in text
    )
    assert f"not those of {OWN}: quantum-marketstate --instance N check\n" in text
    done = here.run("sh", "-c", f"{COMMAND} --instance 2 check 2>&1", check=False)
    assert (
        f"checks {SECOND.removesuffix('.service')}, which has the settings of {ENVIRONMENT} {OWN}\n"
        in done.stdout
    )
    assert (done.returncode, "MARKETSTATE_BATCH is 'none'" in done.stdout) == (2, True)
    own_settings.write_text("MARKETSTATE_BATCH=7\n")
    _, said_of_setting = said(here, "--instance", "2", "explain", "batch")
    assert "7" in said_of_setting
    assert said(here, "--instance", "3", "check")[0] == 0, "it has no file"
    done = here.run("sh", "-c", f"{COMMAND} --instance 2>&1", check=False)
    assert (done.returncode, "--instance must name one" in done.stdout) == (2, True)


def test_check_has_the_rights_of_a_service_and_no_others(here: Machine) -> None:
    """What only root can read, the services cannot."""
    here.path("/root/theta.json").write_text("{}")
    here.path("/root/theta.json").chmod(0o600)
    theta = {"MARKETSTATE_THETA_FILE": "/root/theta.json"}
    code, text = said(here, "check", **theta)
    assert (code, "cannot read /root/theta.json" in text) == (2, True), text
    assert said(here, "status", **theta)[0] == 0


def test_the_password_goes_to_the_redis_of_the_services_only(here: Machine) -> None:
    """This Redis has none, and says so when it gets one."""
    path = here.path(PASSWORD)
    path.write_text("secret\n")
    for command in ("status", "check"):
        assert said(here, command)[0] == 3
        assert said(here, command, MARKETSTATE_REDIS_DB="0")[0] == 3
        code, text = said(here, command, MARKETSTATE_REDIS_HOST="127.0.0.1")
        assert code == 0, text
    path.write_text("\n")
    assert said(here, "status")[0] == 0


def test_only_root_can_use_it(here: Machine) -> None:
    done = here.run("setpriv", "--reuid=65534", "--clear-groups", COMMAND, "status", check=False)
    assert (done.returncode, "use sudo" in done.stdout) == (2, True)


def test_top_and_plot_can_be_installed_and_stay_installed(deployed: Deployment) -> None:
    code, text = said(deployed.machine, "plot", "--out", "/tmp/plot.png")
    assert (code, "scripts/deploy.sh --with-view" in text) == (2, True), text
    options = ("--", "--max-state-age=inf")
    for given, expected in (
        ("--with-view", True),
        ("--synthetic", True),
        ("--without-view", False),
    ):
        deployed.deploy(given, *options)
        found = deployed.machine.run(
            *("/opt/quantum/marketstate/current/venv/bin/python", "-c", "import rich, matplotlib"),
            check=False,
        )
        assert (found.returncode == 0) == expected
    assert deployed.show(FIRST, "ActiveState") == "active"
