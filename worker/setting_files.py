"""Files of settings: a password, theta overrides, variables for a running worker and its answer."""

import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from marketstate.core.theta import Theta, ThetaError, merged_theta
from marketstate.worker.errors import ConfigurationError

MAX_BYTES: Final = 65_536
_ANSWER: Final = "answer.json"
_POLL_S: Final = 0.05
ABOUT: Final = "about"


def password_from(variable: str, path: str) -> str:
    password = _text(variable, path).strip("\r\n")
    if not password:
        raise ConfigurationError(f"{variable}: {path} is empty; it must contain the password")
    return password


def credential_from(name: str, path: Path) -> str:
    """A password that may be missing or empty: our units always pass one, if only a newline."""
    return _text(name, str(path)).strip("\r\n") if path.exists() else ""


def theta_from(variable: str, path: str) -> Theta:
    try:
        overrides: Any = msgspec.json.decode(_text(variable, path))
        if isinstance(overrides, dict):
            # Where the theta came from, for people. It is no parameter: the hash leaves it out.
            overrides.pop(ABOUT, None)
        # Python's None would mean "no overrides", but a file that says null is a mistake.
        return merged_theta({"null": None} if overrides is None else overrides)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{variable}: {path} is not valid JSON: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{variable}: {path} is nested too deeply") from None
    except ThetaError as error:
        raise ConfigurationError(f"{variable}: {path}: {error}") from None


def write_variables(path: Path, variables: dict[str, str]) -> None:
    """A reader finds all of them or those that were there before."""
    new = path.with_suffix(".new")
    try:
        new.write_bytes(msgspec.json.encode(variables))
        new.replace(path)
    except (OSError, UnicodeEncodeError) as error:
        raise ConfigurationError(f"cannot write {path}: {error}") from None


def variables_from(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(_text("settings", str(path)), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} was not written by marketstate reload: {error}") from None


class ReloadAnswer(NamedTuple):
    """What a running worker answers to new settings, as lines for people."""

    in_force: str
    not_in_force: str
    """Which of the new settings are not, and why."""


def write_answer(folder: Path, answer: ReloadAnswer) -> None:
    """Raises ConfigurationError."""
    write_variables(folder / _ANSWER, answer._asdict())


def forget_answer(folder: Path) -> None:
    (folder / _ANSWER).unlink(missing_ok=True)


def wait_for_answer(folder: Path, most_s: float) -> ReloadAnswer | None:
    """None if none comes. Raises ConfigurationError if there is another file in its place."""
    path, end_s = folder / _ANSWER, time.monotonic() + most_s
    while not path.exists():
        if time.monotonic() >= end_s:
            return None
        time.sleep(_POLL_S)
    try:
        return ReloadAnswer(**variables_from(path))
    except TypeError:
        raise ConfigurationError(f"{path} was not written by a worker of this version") from None


def _text(variable: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{variable}: cannot read {path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{variable}: {path} has more than {MAX_BYTES:,} bytes")
    try:
        # Some editors put a mark in front, which would be a part of a password.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{variable}: {path} is not UTF-8 text") from None
