"""scripts/deploy.sh on a clean system, and the files that it installs."""

import shutil

import pytest

from marketstate.schemas.reader import latest_state
from tests.support.candles import (
    SHARED,
    expected_by_oracle,
    expected_real,
    made_candles,
    real_candles,
)
from tests.support.deployment import DOCUMENTS, ENVIRONMENT, FIRST, SECOND, WHEELS, Deployment
from tests.support.documents import documents, links, name_of
from tests.support.machine import Machine
from tests.support.worker_process import feed, published, wait_until_finished

BOTH = pytest.mark.parametrize("unit", [FIRST, SECOND])


def test_from_a_clean_system_to_published_states_of_candles(deployed: Deployment) -> None:
    """G2, G3: a worker under systemd publishes the same as any other worker."""
    if SHARED.exists():
        candles, rows = real_candles(300), expected_real()
    else:
        candles = made_candles(("BTCUSDT", "ETHUSDT", "1000PEPEUSDT"), 290)
        rows = expected_by_oracle(candles)
    last_ms = candles[-1].close_time
    with deployed.machine.redis() as client:
        feed(client, candles)
        wait_until_finished(client, len(candles))
        expected = {
            symbol: [row["sigma"] for row in many if int(row["close_time_ms"]) <= last_ms]
            for symbol, many in rows.items()
        }
        assert {
            symbol: [fields[b"sigma"].decode() for fields in many]
            for symbol, many in published(client).items()
        } == expected
        for symbol in expected:
            state = latest_state(client, symbol)
            assert state is not None
            assert state.close_time_ms == last_ms
    states = deployed.machine.run(f"{deployed.checkout}/scripts/verify.sh", "--max-state-age=inf")
    assert f"recomputed: {len(rows)} of {len(rows)} states" in states.stdout


def test_shells_and_man_know_the_command(deployed: Deployment) -> None:
    share = deployed.machine.path("/usr/local/share")
    for place in (
        "bash-completion/completions/quantum-marketstate",
        "zsh/site-functions/_quantum-marketstate",
        "fish/vendor_completions.d/quantum-marketstate.fish",
    ):
        text = (share / place).read_text()
        assert "quantum-marketstate" in text, place
        assert "repartition" in text, place
    page = share / "man/man1/quantum-marketstate.1"
    included = page.read_text().removeprefix(".so ").strip()
    assert ".TH MARKETSTATE" in (share / "man" / included).read_text()


def test_deploying_the_same_again_restarts_nothing(deployed: Deployment) -> None:
    before = deployed.machine.show(FIRST, "MainPID", "InvocationID")
    said = deployed.deploy("--", "--max-state-age=inf").stdout
    assert "is already built" in said
    assert deployed.machine.show(FIRST, "MainPID", "InvocationID") == before


def test_the_documents_of_a_release_are_those_that_the_units_name_and_link_to_each_other(
    deployed: Deployment,
) -> None:
    named = [url.removeprefix("file:") for url in deployed.show(FIRST, "Documentation").split()]
    assert [deployed.machine.path(file).is_file() for file in named] == [True, True]
    folder = deployed.machine.path(DOCUMENTS)
    copied = list(folder.rglob("*.md"))
    assert {str(file.relative_to(folder)) for file in copied} == set(map(name_of, documents()))
    broken = [
        (file, link)
        for file in copied
        for link in links(file)
        if not (file.parent / link.partition("#")[0]).exists()
    ]
    assert broken == []


def test_files_that_are_not_part_of_a_release_do_not_change_it(deployed: Deployment) -> None:
    users = deployed.machine.path(f"{deployed.checkout}/deploy/redis/users.acl")
    original = users.read_text()
    users.write_text(original + "# another line\n")
    said = deployed.deploy("--dry-run").stdout
    users.write_text(original)
    assert "is already built" in said


def test_a_dry_run_says_what_it_would_do_and_does_nothing(deployed: Deployment) -> None:
    said = deployed.deploy("--dry-run", "--workers", "3").stdout
    assert "would: systemctl --quiet enable quantum-marketstate@3.service" in said
    assert "would: systemctl start quantum-marketstate@3.service" in said
    assert deployed.show("quantum-marketstate@3.service", "UnitFileState") == "disabled"
    assert deployed.show("quantum-marketstate@3.service", "ActiveState") == "inactive"


def test_everything_missing_is_reported_at_once(deployed: Deployment) -> None:
    done = deployed.machine.run(
        *("setpriv", "--reuid=65534", "--clear-groups", f"{deployed.checkout}/scripts/deploy.sh"),
        *("--wheels", "/srv"),
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.splitlines()[:2] == ["deploy.sh: missing:", "  root: use sudo"]
    assert "  wheels in /srv" in done.stdout.splitlines()


def test_a_python_in_a_home_folder_is_not_used_for_services(deployed: Deployment) -> None:
    """It works for root, but ProtectHome hides it from the service."""
    machine = deployed.machine
    machine.run("sh", "-c", "mkdir -p /root/bin && cp /usr/bin/python3.11 /root/bin/python3.11")
    script = f"{deployed.checkout}/scripts/python"
    asked_for = machine.run("env", "PATH=/root/bin:/usr/bin:/bin", script, "--for-services")
    assert "/root" not in asked_for.stdout
    # Without any other Python.
    only = "mount --bind /dev/null /usr/bin/python3.11; export PATH=/root/bin:/usr/bin:/bin; exec "
    done = machine.run(
        "unshare", "--mount", "sh", "-c", f"{only} {script} --for-services", check=False
    )
    assert done.returncode == 2, done.stdout
    assert "python3-venv (one in a home folder is hidden from services)" in done.stdout


def test_new_settings_are_reported_and_the_file_is_left_alone(
    deployed: Deployment,
) -> None:
    path = deployed.machine.path(ENVIRONMENT)
    original = path.read_text()
    try:
        mine = original.replace("#MARKETSTATE_BATCH=500\n", "").replace("#MARKETSTATE_DB", "")
        path.write_text(mine)
        said = deployed.deploy("--dry-run").stdout
        assert [line for line in said.splitlines() if "#MARKETSTATE" in line] == [
            "    #MARKETSTATE_BATCH=500"
        ]
        assert path.read_text() == mine
    finally:
        path.write_text(original)


@BOTH
def test_the_units_have_the_expected_properties(deployed: Deployment, unit: str) -> None:
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "always",
        "RestartUSec": "10s",
        "RestartPreventExitStatus": "2",
        "StartLimitBurst": "5",
        "StartLimitIntervalUSec": "5min",
        "MemoryMax": str(512 * 2**20),
        "CPUQuotaPerSecUSec": "500ms",
        "DynamicUser": "yes",
        "SyslogIdentifier": "quantum-marketstate",
        "CapabilityBoundingSet": "",
        "PartOf": FIRST if unit == SECOND else "",
    }
    assert {name: deployed.show(unit, name) for name in expected} == expected


def test_systemd_finds_nothing_wrong_with_the_units(deployed: Deployment) -> None:
    assert deployed.machine.run("systemd-analyze", "verify", FIRST, SECOND).stdout == ""


@BOTH
def test_the_units_are_hardened(deployed: Deployment, unit: str) -> None:
    said = deployed.machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
    exposure = float(said.rpartition("level for ")[2].partition(": ")[2].split()[0])
    assert exposure <= 1.5


def test_the_service_is_not_root_and_listens_on_no_port(
    machine: Machine, deployed: Deployment
) -> None:
    user = machine.run("ps", "-o", "user:32=", "-p", str(deployed.pid(FIRST))).stdout.strip()
    assert user == "quantum-marketstate"
    listening = machine.run("ss", "--no-header", "--listening", "--tcp", "--udp", "-n").stdout
    ports = {line.split()[4].rpartition(":")[2] for line in listening.splitlines()}
    assert ports == {"6379"}, "Redis alone"


def test_files_that_are_not_those_locked_are_refused_and_the_running_version_keeps_running(
    deployed: Deployment,
) -> None:
    other = "/srv/other"
    checkout = deployed.copy_checkout(other)
    (checkout / "README.md").write_text("another release")
    before = deployed.machine.show(FIRST, "InvocationID"), deployed.current()
    releases = deployed.machine.run("ls", "/opt/quantum/marketstate/releases").stdout
    altered = deployed.machine.path("/srv/altered")
    shutil.copytree(deployed.machine.path(WHEELS), altered)
    (wheel,) = altered.glob("tenacity-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"another file")
    done = deployed.machine.run(
        f"{other}/scripts/deploy.sh", "--wheels", "/srv/altered", check=False
    )
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stdout
    assert (deployed.machine.show(FIRST, "InvocationID"), deployed.current()) == before
    left = deployed.machine.run("ls", "/opt/quantum/marketstate/releases").stdout
    assert left == releases, "no incomplete release is left"
    assert WHEELS not in done.stdout
