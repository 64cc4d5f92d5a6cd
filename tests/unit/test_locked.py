"""deploy/locked has all that deploy.sh installs, at versions that pyproject.toml allows.

If a test fails here, run `scripts/lock`.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

from tests.support.checkout import ROOT

LOCKED: Final = ROOT / "deploy/locked"
PROJECT: Final[Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD: Final = "build"
EXTRAS: Final = PROJECT["project"]["optional-dependencies"]
WANTED: Final[dict[str, list[str]]] = {
    BUILD: PROJECT["build-system"]["requires"] + EXTRAS["completion"],
    "base": PROJECT["project"]["dependencies"],
}


def offered() -> set[str]:
    """The extras that deploy.sh has an option for."""
    return set(re.findall(r"locked/(\w+)\.txt", (ROOT / "scripts/deploy.sh").read_text())) - {
        *WANTED
    }


def pinned(file: Path) -> dict[tuple[str, str], int]:
    """How many hashes each version of a package has."""
    text = re.sub(r"^ *#.*$", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.strip():
            said, *hashes = line.split("--hash=sha256:")
            requirement = Requirement(said)
            (version,) = requirement.specifier
            assert version.operator == "=="
            found[requirement.name, version.version] = len(hashes)
    return found


def test_there_is_a_file_for_each_extra_that_deploy_offers() -> None:
    assert offered() == {"view", "metrics", "web"}
    files = {f"{name}.txt" for name in {*WANTED, *offered()}}
    assert {path.name for path in LOCKED.iterdir()} == {*files, "sbom.json"}


@pytest.mark.parametrize("name", sorted({*WANTED, *offered()}))
def test_every_requirement_is_there_in_a_version_that_is_allowed(name: str) -> None:
    there = pinned(LOCKED / f"{name}.txt")
    assert min(there.values()) > 0, "hashes"
    for requirement in map(Requirement, WANTED.get(name) or EXTRAS[name]):
        versions = [version for package, version in there if package == spelled(requirement.name)]
        assert versions, f"{requirement} is missing"
        assert [one for one in versions if not requirement.specifier.contains(one)] == []


def spelled(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_sbom_lists_what_a_release_can_consist_of() -> None:
    listed = {
        (component["name"], component["version"])
        for component in json.loads((LOCKED / "sbom.json").read_text())["components"]
    }
    files = [LOCKED / f"{name}.txt" for name in {*WANTED, *offered()} - {BUILD}]
    assert listed == {pin for file in files for pin in pinned(file)}


def test_no_package_index_is_named() -> None:
    assert [path.name for path in LOCKED.iterdir() if "://" in path.read_text()] == []
