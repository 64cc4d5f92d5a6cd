"""The sdist and the wheels work without the source tree; an editable install hides missing files.

Both wheels are built from the sdist, so the sdist must be complete too.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.checkout import ROOT, copy_checkout
from tests.support.demo import symbols_in
from tests.support.other_packages import PACKAGES, put_others_beside
from tests.support.processes import environment

PACKAGED: Final = {".py", ".lua", ".json", ".typed", ".css", ".js", ".html", ".svg"}
VERSION: Final = version("marketstate-worker")
KERNEL: Final = "marketstate/core/_kernel.so"
# What `check` prints, and the compiler that gets it; "" is the machine's own compiler.
COMPILERS: Final = {"compiled": "", "not compiled": "/bin/false"}


def run(*command: object, cwd: Path | None = None, variables: dict[str, str] | None = None) -> str:
    """The command's stdout and stderr."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment() | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def new_environment(folder: Path) -> Path:
    """Returns its Python. It has no pip: ours installs into it from outside, which is faster."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    return folder / "bin/python"


def pip(python: Path, *arguments: object, compiler: str = "") -> None:
    variables = {"CC": compiler} if compiler else {}
    quiet = ("--python", python, "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", *quiet, *arguments, variables=variables)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the build dependencies."""
    python = new_environment(tmp_path_factory.mktemp("builder"))
    pip(python, "install", "--no-compile", "setuptools>=77")
    return python


@pytest.fixture(scope="module")
def sdist(builder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy: leftovers of an earlier build could hide missing files."""
    folder = tmp_path_factory.mktemp("sdist")
    source = copy_checkout(folder / "source")
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    run(builder, "-c", build, cwd=source)
    (found,) = folder.glob("*.tar.gz")
    return found


def test_an_sdist_has_all_files_also_the_changelog_the_deployment_and_the_examples(
    sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    source = copy_checkout(tmp_path / "source")
    there = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    assert there - found == set()
    assert {"CHANGELOG.md", "deploy/README.md", "scripts/examples/watch_regimes.py"} <= found


def test_a_build_does_not_take_folders_without_python_for_packages(
    builder: Path, tmp_path: Path
) -> None:
    source = copy_checkout(tmp_path / "source")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})"
    said = run(builder, "-c", build, cwd=source, variables={"CC": "/bin/false"})
    assert "worker.lua" not in said
    assert "absent from the `packages`" not in said


@pytest.fixture(scope="module", params=COMPILERS)
def way(request: pytest.FixtureRequest) -> str:
    """How the states are calculated: compiled or not."""
    return str(request.param)


@pytest.fixture(scope="module")
def wheel(way: str, builder: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    pip(builder, "wheel", *options, sdist, compiler=COMPILERS[way])
    (found,) = folder.glob("*.whl")
    return found


def packaged_files() -> set[str]:
    """The packages' files, both modules and data."""
    name = ROOT / "src/marketstate"
    ours = {f"marketstate/{path.name}" for path in name.iterdir() if path.suffix in PACKAGED}
    return ours | {
        f"marketstate/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        # Pictures are for documents.
        if path.suffix in PACKAGED and path.parent.name != "pictures"
    }


@pytest.mark.parametrize("way", ["compiled"], indirect=True)
def test_a_wheel_fits_every_python_and_the_systems_of_the_last_ten_years(wheel: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_")
    assert wheel.name == f"marketstate_worker-{VERSION}-py3-none-{platform}.whl"
    said = run(sys.executable, "-m", "auditwheel", "show", wheel)
    assert f'"manylinux_2_17_{os.uname().machine}"' in said


def test_a_wheel_has_all_that_it_takes_away_from_its_source(
    way: str, wheel: Path, any_server_binary: Path, tmp_path: Path
) -> None:
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert found - {KERNEL} == packaged_files()
    assert (KERNEL in found) == (way == "compiled")

    python = new_environment(tmp_path / "fresh")
    pip(python, "install", "--no-compile", wheel)
    put_others_beside(python)
    marketstate = python.parent / "marketstate"
    away = tmp_path / "away"
    away.mkdir()
    origin = run(python, "-c", "import marketstate as it; print(it.__file__)", cwd=away)
    assert origin.startswith(str(tmp_path / "fresh"))
    with EmbeddedRedis(any_server_binary) as server:
        settings = {"MARKETSTATE_REDIS_PORT": str(server.port)}
        checked = run(marketstate, "check", cwd=away, variables=settings)
    assert f"({way}" in checked
    read = run(marketstate, "state", "--synthetic", "trend", cwd=away)
    assert "Most likely trend" in read
    with_redis = {"PATH": f"{any_server_binary.parent}:{environment()['PATH']}"}
    shown = run(marketstate, "demo", "--seconds", "5", cwd=away, variables=with_redis)
    assert set(symbols_in(shown)) == {"BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT"}
