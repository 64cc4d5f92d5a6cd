"""`scripts/test-servers`: its list, and what it says of a run."""

import re
from pathlib import Path

import pytest

from tests.servers.__main__ import Ready, main, row
from tests.servers.debian import NotHad, call
from tests.servers.fetched import listed
from tests.servers.runs import counts, name_tests, split
from tests.support.checkout import ROOT


def test_each_server_of_the_list_comes_from_a_wheel_or_a_debian_package() -> None:
    servers = listed().servers
    assert len({server.name for server in servers}) == len(servers)
    for server in servers:
        assert server.wheel or server.package, server.name
        assert bool(server.package) == bool(server.suites), server.name
        assert server.wheel or not server.pip, server.name


def test_the_readme_names_each_server_and_each_client_of_the_list() -> None:
    readme = (ROOT / "README.md").read_text()
    (servers,) = re.findall(r"^\| servers \| (.*) \|$", readme, re.MULTILINE)
    named = {
        f"{name.lower()}-{series}"
        for name, told in (each.split(" ", 1) for each in servers.split("; "))
        for series in told.split(", ")
    }
    assert named == {re.findall(r"^\w+-\d+\.\d+", each.name)[0] for each in listed().servers}
    (clients,) = re.findall(r"^\| redis-py \| (.*), with and without hiredis", readme, re.MULTILINE)
    series = [re.findall(r"==(\d+\.\d+)", each)[0] for each in listed().clients]
    assert {*clients.split(", ")} == {*series}


def test_what_cannot_be_had_is_said_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def make_ready() -> Ready:
        call("a-program-that-is-not-there")
        raise AssertionError

    assert row("redis-1.0", make_ready, []) == {"name": "redis-1.0", "says": "cannot be had here"}
    assert "cannot be had here: there is no a-program-that-is-not-there" in capsys.readouterr().out


def test_a_program_that_fails_is_reported_by_its_last_line() -> None:
    with pytest.raises(NotHad, match=r"^sh: no such package$"):
        call("sh", "-c", "echo reading >&2; echo no such package >&2; exit 1")


@pytest.mark.parametrize(
    ("suite", "counted"),
    [
        (
            'tests="9" failures="1" errors="2" skipped="3" time="4.6"',
            {"passed": 3, "failed": 3, "skipped": 3, "seconds": 5},
        ),
        ('tests="0" failures="0" errors="0" skipped="0" time="1"', {"failed": 1}),
    ],
)
def test_errors_count_as_failures_and_so_does_a_run_without_tests(
    suite: str, counted: dict[str, int], tmp_path: Path
) -> None:
    report = tmp_path / "report.xml"
    assert counts(report) == {"failed": 1}
    report.write_text(f"<testsuites><testsuite {suite}/></testsuites>")
    assert counts(report) == counted


def test_what_follows_two_dashes_goes_to_pytest_and_may_say_what_to_run() -> None:
    assert split(["redis-7.2", "--", "-x", "--", "a"]) == (["redis-7.2"], ["-x", "--", "a"])
    assert split(["redis-7.2"]) == (["redis-7.2"], [])
    assert name_tests(["-x", f"{__file__}::test_one"])
    assert not name_tests(["-k", "no-such-file"])


def test_a_name_that_is_not_in_the_list_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["test-servers", "redis-1.0", "--", "-x"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "there is no 'redis-1.0'; there are redis-6.2.5, redis-6.2," in capsys.readouterr().err
