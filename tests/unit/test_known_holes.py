"""The server by its own name and version, and what is known of that version."""

import re

import pytest

from marketstate.worker.store.known_holes import FIRST_WITHOUT, known_holes
from marketstate.worker.store.server_version import ServerVersion, server_version
from tests.support.checkout import ROOT


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"redis_version": "7.0.15"}, "Redis 7.0.15"),
        (
            {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.0.1"},
            "Valkey 8.0.1",
        ),
        ({"redis_version": "7.2.4", "redict_version": "7.3.6"}, "Redict 7.3.6"),
        ({"redis_version": "8.6-rc1"}, "Redis 8.6.1"),
        ({}, "Redis 0.0.0"),
    ],
)
def test_a_server_goes_by_its_own_name_and_version(info: dict[str, str], named: str) -> None:
    assert str(server_version(info)) == named


def holes(name: str, *numbers: int) -> str:
    major, minor, patch = numbers
    return known_holes(ServerVersion(name, (major, minor, patch)))


def test_the_holes_of_a_version_are_named_with_the_first_version_without_any() -> None:
    assert holes("Redis", 7, 4, 1) == (
        "Redis 7.4.1 has known security holes in scripts (CVE-2025-49844, CVE-2026-23631), open "
        "to anyone who may run scripts: upgrade to Redis 7.4.9 or newer, unless your distribution "
        "has closed them without changing the version, as Debian does"
    )
    assert "(CVE-2026-23631), " in holes("Redis", 7, 4, 8)
    assert "no Redis 7.0 is without, so upgrade to a newer series, unless" in holes(
        "Redis", 7, 0, 15
    )
    assert "no Redis 8.0 is without" in holes("Redis", 8, 0, 6)
    assert "upgrade to Valkey 8.1.7 or newer" in holes("Valkey", 8, 1, 1)


def test_the_version_that_closes_the_last_hole_has_none_and_the_one_before_it_has_one() -> None:
    for (name, series), known in FIRST_WITHOUT.items():
        firsts = [first for first in known.values() if first is not None]
        if len(firsts) == len(known):
            assert holes(name, *series, max(firsts)) == ""
            assert holes(name, *series, max(firsts) - 1) != ""


def test_the_readme_has_the_first_versions_without_holes() -> None:
    readme = (ROOT / "deploy/README.md").read_text()
    for (name, (major, minor)), known in FIRST_WITHOUT.items():
        firsts = [first for first in known.values() if first is not None]
        if len(firsts) == len(known):
            (row,) = re.findall(rf"^\| \**{name}\** \| \d.*$", readme, re.MULTILINE)
            assert f" {major}.{minor}.{max(firsts)} |" in row
        else:
            assert (
                f"{name} {major}.{minor}" in readme.partition("No version of")[2].split(" is ")[0]
            )


def test_nothing_is_said_of_a_series_that_the_table_does_not_know() -> None:
    assert holes("Redis", 8, 10, 0) == holes("Valkey", 10, 0, 0) == ""
