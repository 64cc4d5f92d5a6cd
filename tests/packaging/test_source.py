"""Builds leave nothing in the checkout, and take nothing over from an earlier build in it."""

import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import copy_checkout
from tests.support.demo import symbols_in
from tests.support.processes import environment


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One without a .venv, in which there was a build before a module was deleted."""
    copy = copy_checkout(tmp_path / "checkout")
    stale = copy / "build/lib/worker/deleted.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    return copy


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def run(*command: object, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_source_of_a_build_is_what_is_packaged_and_nothing_of_an_earlier_build(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "core/_kernel.so").touch()
    (checkout / "core/__pycache__").mkdir()
    (checkout / "core/__pycache__/state.pyc").touch()
    run(checkout / "scripts/source", tmp_path / "source")
    expected = {"pyproject.toml", "setup.py", "README.md"}
    expected |= {"src/marketstate/__init__.py", "src/marketstate/py.typed"}
    for package in ("core", "schemas", "worker"):
        expected |= {
            f"{package}/{name}" for name in files(copy_checkout(tmp_path / "clean") / package)
        }
    assert files(tmp_path / "source") == expected


def test_the_demo_of_a_new_checkout_leaves_nothing_behind(checkout: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    before = files(checkout)
    shown = run(checkout / "scripts/demo", "--seconds", "4", TMPDIR=str(temporary))
    assert "Installing into a temporary folder" in shown
    assert "BTCUSDT" in symbols_in(shown)
    assert (files(checkout), list(temporary.iterdir())) == (before, [])
