"""What a running worker answers to `marketstate reload`: a file beside the new settings."""

import time
from pathlib import Path
from typing import Final, NamedTuple

from worker.errors import ConfigurationError
from worker.setting_files import variables_from, write_variables

_NAME: Final = "answer.json"
_POLL_S: Final = 0.05


class ReloadAnswer(NamedTuple):
    """Lines for people."""

    in_force: str
    not_in_force: str
    """Which of the new settings are not, and why."""


def write_answer(folder: Path, answer: ReloadAnswer) -> None:
    """Raises ConfigurationError."""
    write_variables(folder / _NAME, answer._asdict())


def forget_answer(folder: Path) -> None:
    (folder / _NAME).unlink(missing_ok=True)


def wait_for_answer(folder: Path, most_s: float) -> ReloadAnswer | None:
    """None if none comes. Raises ConfigurationError if there is another file in its place."""
    path, end_s = folder / _NAME, time.monotonic() + most_s
    while not path.exists():
        if time.monotonic() >= end_s:
            return None
        time.sleep(_POLL_S)
    try:
        return ReloadAnswer(**variables_from(path))
    except TypeError:
        raise ConfigurationError(f"{path} was not written by a worker of this version") from None
