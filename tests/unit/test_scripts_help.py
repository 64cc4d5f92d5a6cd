"""The options of scripts can be seen before there is an environment."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.fault.chaos.breakages import BREAKAGES
from tests.fault.chaos.faults.table import TABLE
from tests.support.checkout import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One without a .venv, but with its tests."""
    for name in ("scripts", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def chaos(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # `cd` of the script follows no links.
    script = folder / "scripts/chaos"
    return subprocess.run(
        [str(script), *options],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_chaos_shows_its_options_without_an_environment(checkout: Path) -> None:
    done = chaos(checkout, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: scripts/chaos" in done.stdout
    assert "--break NAME" in done.stdout
    assert "there is no .venv; run scripts/test first" in chaos(checkout, "--seed", "1").stderr


def test_chaos_lists_what_its_options_take_and_refuses_others() -> None:
    listed = chaos(ROOT, "--list").stdout.splitlines()
    assert {line.strip() for line in listed[1:]} >= {*TABLE, *BREAKAGES}
    done = chaos(ROOT, "--only", "kil")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "scripts/chaos: error: --only: there is no 'kil'; --list shows what there is",
    )
