"""Steps of scripts/deploy.sh that need no systemd; tests/systemd has the others."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.documents import ROOT

SCRIPT = (ROOT / "scripts" / "deploy.sh").read_text()
TEMPLATE = (ROOT / "deploy" / "systemd" / "marketstate.env").read_text()
SYNTHETIC = "MARKETSTATE_SOURCE=synthetic\n"


def step_of_script(folder: Path, *calls: str, answer: str = "") -> tuple[int, str]:
    """Runs functions of the script with `folder` as /etc/quantum; with an answer, on a terminal."""
    functions = SCRIPT.removesuffix('main "$@"\n')
    for name, value in (("checkout", ROOT), ("configuration", folder)):
        functions, count = re.subn(
            rf"^(readonly )?{name}=.*$", f"{name}={value}", functions, flags=re.M
        )
        assert count == 1
    command = ["bash", "-c", "\n".join([functions, *calls])]
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    done = subprocess.run(
        command,
        stdin=theirs if answer else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    return done.returncode, done.stdout


def write(folder: Path, text: str, name: str = "marketstate.env") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_environment_file_is_written_once_and_then_left_alone(tmp_path: Path) -> None:
    assert step_of_script(tmp_path, "write_environment")[0] == 0
    path = tmp_path / "marketstate.env"
    assert (path.read_text(), path.stat().st_mode & 0o777) == (TEMPLATE, 0o600)
    changed = TEMPLATE.replace("SOURCE=candles", "SOURCE=synthetic")
    path.write_text(changed)
    assert step_of_script(tmp_path, "write_environment") == (0, "")
    assert path.read_text() == changed


def test_settings_that_the_file_does_not_have_are_shown(tmp_path: Path) -> None:
    lines = ("MARKETSTATE_LOG_LEVEL=INFO\n", "#MARKETSTATE_BATCH=500\n")
    text = TEMPLATE.replace(lines[0], "").replace(lines[1], "")
    path = write(tmp_path, text)
    code, said = step_of_script(tmp_path, "write_environment")
    assert (code, said.splitlines()[1:]) == (0, [f"    {line.strip()}" for line in lines])
    assert path.read_text() == text


def test_a_classic_setting_that_is_only_a_comment_is_shown(tmp_path: Path) -> None:
    """What sed changes there has no effect: the file is from a version that shipped it so."""
    source, batch = "#MARKETSTATE_SOURCE=synthetic", "#MARKETSTATE_BATCH=7"
    text = TEMPLATE.replace("MARKETSTATE_SOURCE=candles", source)
    write(tmp_path, text.replace("#MARKETSTATE_BATCH=500", batch))
    code, said = step_of_script(tmp_path, "write_environment")
    assert (code, f"    {source}" in said.splitlines(), batch in said) == (0, True, False)
    assert "remove its # first" in said


@pytest.mark.parametrize(
    "text",
    [
        SYNTHETIC,
        'MARKETSTATE_SOURCE="synthetic"\n',
        "  MARKETSTATE_SOURCE='synthetic'  # a test\n",
        "MARKETSTATE_SOURCE=candles\nMARKETSTATE_SOURCE=synthetic\n",
    ],
)
def test_without_a_terminal_synthetic_workers_are_not_started(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    code, said = step_of_script(tmp_path, "ask_about_synthetic_prices", "echo went on")
    assert (code, "went on" in said) == (2, False)
    assert f"SYNTHETIC PRICES: MARKETSTATE_SOURCE is synthetic in {path}" in said
    assert "or give --synthetic" in said


@pytest.mark.parametrize(
    "text",
    [
        "MARKETSTATE_SOURCE=candles\n",
        "#MARKETSTATE_SOURCE=synthetic\n",
        "MARKETSTATE_SOURCE=synthetic\nMARKETSTATE_SOURCE=candles\n",
        "",
    ],
)
def test_nothing_is_asked_about_workers_of_candles(text: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    assert step_of_script(tmp_path, "ask_about_synthetic_prices") == (0, "")


def test_one_further_worker_that_is_synthetic_is_enough(tmp_path: Path) -> None:
    write(tmp_path, TEMPLATE)
    path = write(tmp_path, SYNTHETIC, "marketstate@2.env")
    code, said = step_of_script(tmp_path, "ask_about_synthetic_prices")
    assert (code, str(path) in said) == (2, True)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_the_question_is_asked(answer: str, code: int, tmp_path: Path) -> None:
    write(tmp_path, SYNTHETIC)
    found, said = step_of_script(
        tmp_path, "ask_about_synthetic_prices", "echo went on", answer=answer
    )
    assert (found, "went on" in said) == (code, code == 0)


def test_the_option_answers_the_question_and_yes_does_not(tmp_path: Path) -> None:
    write(tmp_path, SYNTHETIC)
    ask = "ask_about_synthetic_prices"
    assert step_of_script(tmp_path, "read_options --synthetic", ask)[0] == 0
    assert step_of_script(tmp_path, "read_options --yes", ask)[0] == 2


def test_a_dry_run_says_it_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, SYNTHETIC)
    code, said = step_of_script(tmp_path, "read_options --dry-run", "ask_about_synthetic_prices")
    assert (code, "SYNTHETIC PRICES" in said) == (0, True)
