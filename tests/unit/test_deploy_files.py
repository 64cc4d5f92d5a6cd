"""Deployed files agree with the code, and the scripts are clean."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from worker.settings import PREFIX, Settings, settings_from

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("scripts", ".ci", "deploy", "tests/support")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.read_bytes().startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))
)
# These do not belong in a file for all live workers, and the password has a better place.
ELSEWHERE = {"worker_id", "replay_namespace", "redis_password", "redis_password_file", "theta"}


def given_in_template() -> dict[str, str]:
    text = (ROOT / "deploy/systemd/marketstate.env").read_text()
    return dict(re.findall(rf"^#({PREFIX}\w+)=(.*)$", text, re.MULTILINE))


def test_the_environment_file_has_every_setting() -> None:
    names = {PREFIX + name.upper() for name in set(Settings.__struct_fields__) - ELSEWHERE}
    assert given_in_template().keys() == names


def test_the_environment_file_has_the_defaults() -> None:
    """Uncommenting every line changes nothing; a setting without a default is empty."""
    assert settings_from(given_in_template()) == settings_from({})


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("not installed: shellcheck")
    done = subprocess.run(
        ["shellcheck", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""
