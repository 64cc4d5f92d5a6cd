"""Deployed files agree with the code, and the scripts are clean."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from marketstate.worker.settings import PREFIX, explained, settings_from
from tests.support.deployment import DOCUMENTS
from tests.support.documents import ROOT, documents

DEPLOY = ROOT / "deploy"
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("scripts", ".ci", "deploy", "tests/support")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.read_bytes().startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))
)
# These do not belong in a file for all live workers, and the password has a better place.
ELSEWHERE = {"worker_id", "replay_namespace", "redis_password", "redis_password_file"}


TEMPLATE = DEPLOY / "systemd/marketstate.env"
# Those of the publisher that this worker replaces: operators change them with sed.
CLASSIC = {
    "MARKETSTATE_SYMBOLS": "BTCUSDT",
    "MARKETSTATE_PUBLISH_INTERVAL": "30",
    "MARKETSTATE_WINDOW_SIZE": "400",
    "MARKETSTATE_SOURCE": "synthetic",
    "MARKETSTATE_REDIS_HOST": "10.0.0.5",
    "MARKETSTATE_REDIS_PORT": "6380",
    "MARKETSTATE_LOG_LEVEL": "DEBUG",
}


def given_in_template() -> dict[str, str]:
    return dict(re.findall(rf"^#?({PREFIX}\w+)=(.*)$", TEMPLATE.read_text(), re.MULTILINE))


def in_force(text: str) -> dict[str, str]:
    """What systemd reads: neither comments nor empty lines."""
    return dict(re.findall(rf"^({PREFIX}\w+)=(.*)$", text, re.MULTILINE))


def test_the_environment_file_has_every_setting() -> None:
    names = {found.variable for found in explained({}) if found.name not in ELSEWHERE}
    assert given_in_template().keys() == names


def test_the_environment_file_has_the_defaults() -> None:
    """Uncommenting every line changes nothing; a setting without a default is empty."""
    assert settings_from(given_in_template()) == settings_from({})


def test_the_environment_file_that_is_installed_changes_nothing() -> None:
    text = TEMPLATE.read_text()
    assert in_force(text).keys() == CLASSIC.keys()
    assert settings_from(in_force(text)) == settings_from({})


@pytest.mark.parametrize(("name", "value"), CLASSIC.items())
def test_sed_changes_a_classic_setting_of_the_environment_file(name: str, value: str) -> None:
    changed = subprocess.run(
        ["sed", f"s/{name}=.*/{name}={value}/", TEMPLATE],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    field = name.removeprefix(PREFIX).lower()
    found = getattr(settings_from(in_force(changed)), field)
    assert (str(found), found != getattr(settings_from({}), field)) == (value, True)


def test_the_trial_before_moving_over_shares_nothing_with_the_live_group_but_the_input() -> None:
    """And the command that removes it has the same settings."""
    text = (DEPLOY / "README.md").read_text()
    (line,) = re.findall(rf"^ +({PREFIX}\w+=.*) marketstate worker$", text, re.MULTILINE)
    trial = settings_from(dict(each.split("=", 1) for each in line.split(" "))).keys
    live = settings_from({}).keys
    its_own = set(trial.every(16, ["BTCUSDT"])) - {live.input}
    assert its_own & set(live.every(16, ["BTCUSDT"])) == set()
    assert f" {line} marketstate purge --outputs --yes\n" in text


def test_the_table_of_settings_has_every_variable() -> None:
    rows = re.findall(
        r"^\| (`MARKETSTATE_.*?) \|", (DEPLOY / "README.md").read_text(), re.MULTILINE
    )
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    variables = [setting.variable for setting in explained({})]
    assert sorted(names) == sorted(variables)


def test_the_units_name_documents_of_the_release() -> None:
    text = (DEPLOY / "systemd/worker.conf").read_text()
    named = re.findall(rf"^Documentation=file:{DOCUMENTS}/(.*)$", text, re.MULTILINE)
    assert len(named) == text.count("Documentation=")
    assert [name for name in named if ROOT / name not in documents()] == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("not installed: shellcheck")
    done = subprocess.run(
        ["shellcheck", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "theta").glob("*.json")), ids=lambda path: path.name
)
def test_a_theta_file_to_start_with_can_be_used_and_is_described(path: Path) -> None:
    settings = settings_from({f"{PREFIX}THETA_FILE": str(path)})
    assert settings.theta_hash != settings_from({}).theta_hash
    about = json.loads(path.read_text())["about"]
    described = (DEPLOY / "theta/README.md").read_text()
    assert f"## {path.name}" in described
    assert f"`marketstate calibrate data {about['method']}" in described
    assert not about["says"].startswith("skill"), "none of them has any"
