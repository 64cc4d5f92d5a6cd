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


def run(script: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # `cd` of the script follows no links.
    return subprocess.run(
        [str(folder / "scripts" / script), *options],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "option"),
    [
        ("chaos", "--break NAME"),
        ("fuzz", "--entries N"),
        ("bench", "--json FILE"),
        ("bits", "--cc COMMAND"),
        ("test-servers", "--clients"),
        ("test-page", "--pictures FOLDER"),
    ],
)
def test_a_script_shows_its_options_without_an_environment(
    script: str, option: str, checkout: Path
) -> None:
    done = run(script, checkout, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: scripts/{script}" in done.stdout
    assert option in done.stdout
    refused = run(script, checkout)
    assert "there is no .venv; run scripts/test first" in refused.stderr


def test_chaos_lists_what_its_options_take_and_refuses_others() -> None:
    listed = run("chaos", ROOT, "--list").stdout.splitlines()
    assert {line.strip() for line in listed[1:]} >= {*TABLE, *BREAKAGES}
    done = run("chaos", ROOT, "--only", "kil")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "scripts/chaos: error: --only: there is no 'kil'; --list shows what there is",
    )


def test_a_list_that_nobody_reads_to_its_end_is_no_error() -> None:
    """`scripts/bench --list | head` could end with a traceback."""
    line = f"{ROOT}/scripts/bench --list | true"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""
