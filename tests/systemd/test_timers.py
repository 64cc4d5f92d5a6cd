"""scripts/deploy.sh --with-metrics and --with-page: the timers that write metrics, and the page."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.acl import set_user
from tests.support.deployment import FIRST, SECOND, Deployment
from tests.support.exposition import Samples, samples
from tests.support.worker_process import wait_until

FOLDER = "/var/lib/prometheus/node-exporter"
METRICS = "quantum-marketstate-metrics"
VERIFY = "quantum-marketstate-verify"
PAGE = "quantum-marketstate-page.service"
PASSWORD_OF_PAGE = "/etc/quantum/marketstate-page.password"
ASK = """
import http.client, sys
asked = http.client.HTTPConnection("127.0.0.1", 8043)
asked.request("GET", sys.argv[1], headers={"Host": sys.argv[2]})
reply = asked.getresponse()
print(reply.status, reply.read().decode())
"""
BOTH = pytest.mark.parametrize("name", [METRICS, VERIFY])


@pytest.fixture(scope="module")
def timed(deployed: Deployment) -> Iterator[Deployment]:
    """Two workers, the timers and the page."""
    machine = deployed.machine
    machine.run("rm", "-rf", FOLDER)
    refused = deployed.deploy("--with-metrics", check=False)
    assert (refused.returncode, f"the folder {FOLDER}" in refused.stdout) == (2, True)
    machine.run("mkdir", "-p", FOLDER)
    both = ("--with-metrics", "--with-page")
    deployed.deploy(*both, "--workers", "2", "--", "--max-state-age=inf")
    yield deployed
    neither = ("--without-metrics", "--without-page")
    deployed.deploy(*neither, "--workers", "1", "--", "--max-state-age=inf")
    assert machine.show(PAGE, "LoadState", "ActiveState") == ["not-found", "inactive"]
    for name in (METRICS, VERIFY):
        assert machine.show(f"{name}.timer", "LoadState", "ActiveState") == [
            "not-found",
            "inactive",
        ]
    assert machine.run("ls", FOLDER).stdout == ""
    assert deployed.show(FIRST, "ActiveState") == "active"


def written(timed: Deployment, name: str) -> Samples:
    """What the unit writes now."""
    timed.machine.run("systemctl", "start", f"{name}.service")
    file = {METRICS: "marketstate.prom", VERIFY: "marketstate-verify.prom"}[name]
    path = timed.machine.path(f"{FOLDER}/{file}")
    assert path.stat().st_mode & 0o777 == 0o644, "node_exporter is another user"
    return samples(path.read_bytes())


def test_the_metrics_are_what_status_says(timed: Deployment) -> None:
    """G8"""

    def status() -> Any:
        return json.loads(timed.machine.run("quantum-marketstate", "status", "--json").stdout)

    wait_until(lambda: len(status()["workers"]) == 2, "both work")
    before, got, after = status(), written(timed, METRICS), status()
    assert before["shards"][0].keys() >= {"holder", "pending"}
    shards = [[one["holder"] for one in each["shards"]] for each in (before, after)]
    assert shards[0] == shards[1]
    assert got["marketstate_up"] == {(): 1}
    assert got["marketstate_workers"] == {(): 2}
    assert got["marketstate_group_lag"] == {(): before["lag"]}
    assert got["marketstate_group_pending"] == {(): before["pending"]}
    assert sum(got["marketstate_symbols"].values()) == len(before["symbols"])
    assert {end: n for (end,), n in got["marketstate_entries_total"].items() if n} == {
        name: n
        for name, n in before["counters"].items()
        if (name,) in got["marketstate_entries_total"]
    }
    seen = got["marketstate_worker_last_seen_timestamp_seconds"]
    assert {name for (name,) in seen} == {one["worker_id"] for one in before["workers"]}


def test_verify_writes_what_it_found(timed: Deployment) -> None:
    success = written(timed, VERIFY)["marketstate_verify_success"]
    assert {("verify",), ("workers",), ("backlog",)} <= success.keys()
    assert success["workers",] == 1
    assert "recomputed: " in timed.machine.journal(f"{VERIFY}.service")


@BOTH
def test_a_timer_starts_it(timed: Deployment, name: str) -> None:
    machine = timed.machine
    assert machine.show(f"{name}.timer", "ActiveState", "UnitFileState", "Unit") == [
        *("active", "enabled", f"{name}.service")
    ]


def test_while_redis_is_away_the_file_says_so_and_the_unit_has_not_failed(
    timed: Deployment,
) -> None:
    options = "[Service]\nEnvironment=MARKETSTATE_REDIS_URL=unix:///run/none.sock\n"
    path = timed.machine.path(f"/run/systemd/system/{METRICS}.service.d/99-test.conf")
    path.parent.mkdir(parents=True)
    path.write_text(options)
    timed.machine.run("systemctl", "daemon-reload")
    try:
        assert written(timed, METRICS)["marketstate_up"] == {(): 0}
    finally:
        path.unlink()
        timed.machine.run("systemctl", "daemon-reload")
    assert "does not answer" in timed.machine.journal(f"{METRICS}.service")


@pytest.mark.parametrize(
    "units",
    [
        (f"{METRICS}.service", f"{METRICS}.timer"),
        (f"{VERIFY}.service", f"{VERIFY}.timer"),
        (PAGE,),
    ],
)
def test_its_unit_is_hardened_and_has_nothing_wrong(
    timed: Deployment, units: tuple[str, ...]
) -> None:
    unit = units[0]
    assert timed.machine.run("systemd-analyze", "verify", *units).stdout == ""
    said = timed.machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
    exposure = float(said.rpartition("level for ")[2].partition(": ")[2].split()[0])
    assert exposure <= 2.0
    assert timed.show(unit, "CapabilityBoundingSet") == ""


def asked(timed: Deployment, path: str, host: str = "localhost") -> tuple[int, str]:
    python = "/opt/quantum/marketstate/current/venv/bin/python"
    said = timed.machine.run(python, "-c", ASK, path, host).stdout
    status, _, text = said.partition(" ")
    return int(status), text.removesuffix("\n")


def test_the_page_serves_what_status_says_as_a_user_of_its_own(timed: Deployment) -> None:
    """G8"""
    wait_until(lambda: asked(timed, "/healthz") == (200, "ok\n"), "it is healthy")
    status = json.loads(timed.machine.run("quantum-marketstate", "status", "--json").stdout)
    code, text = asked(timed, "/metrics")
    got = samples(text.encode())
    assert (code, got["marketstate_up"], got["marketstate_workers"]) == (200, {(): 1}, {(): 2})
    assert got["marketstate_group_lag"] == {(): status["lag"]}
    document = json.loads(asked(timed, "/states.json")[1])
    assert {one["id"] for one in document["group"]["workers"]} == {
        one["worker_id"] for one in status["workers"]
    }
    code, text = asked(timed, "/")
    assert (code, "<html" in text) == (200, True)
    assert asked(timed, "/", "evil.example.com")[0] == 400
    owner = timed.machine.run("ps", "-o", "user:40=", "-p", str(timed.pid(PAGE))).stdout.strip()
    assert owner == "quantum-marketstate-page"


def test_the_page_can_have_the_rights_of_a_reader(timed: Deployment) -> None:
    """As deploy/systemd/README.md says: a user and a password of its own."""
    machine = timed.machine
    with machine.redis() as client:
        set_user(client, "marketstate-metrics", "reads")
    settings = machine.path("/etc/quantum/marketstate-page.env")
    settings.write_text("MARKETSTATE_REDIS_USERNAME=marketstate-metrics\n")
    machine.path(PASSWORD_OF_PAGE).write_text("reads")
    override = machine.path(f"/etc/systemd/system/{PAGE}.d/override.conf")
    override.write_text(f"[Service]\nLoadCredential=redis-password:{PASSWORD_OF_PAGE}\n")
    said = timed.deploy("--with-page", "--", "--max-state-age=inf").stdout
    assert "is already built" in said
    with machine.redis() as client:
        users = {each["user"] for each in client.client_list() if "page" in each["name"]}
    assert users == {"marketstate-metrics"}
    assert asked(timed, "/healthz") == (200, "ok\n")
    for path in (settings, override):
        path.unlink()


def test_a_later_release_keeps_the_timers(timed: Deployment) -> None:
    said = timed.deploy("--", "--max-state-age=inf").stdout
    assert "is already built" in said
    assert timed.show(f"{METRICS}.timer", "ActiveState") == "active"
    assert timed.show(PAGE, "ActiveState") == "active"
    assert timed.show(SECOND, "ActiveState") == "active"
