"""Writes a theta file that says where it came from.

`about` is for people: the reader of theta files leaves it out, so the hash of a theta does not
depend on it.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from marketstate.core.theta import DEFAULT_THETA, Theta
from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.engine.utc import utc
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.names import each_file
from marketstate.worker.setting_files import ABOUT, MAX_BYTES

# More names would say no more.
_NAMES: Final = 50


def check_path(path: Path) -> None:
    """Raises ConfigurationError, also for a file that is there: a running group may use it."""
    if not path.parent.is_dir():
        raise ConfigurationError(f"cannot write {path}: there is no folder {path.parent}")
    if path.exists():
        raise ConfigurationError(f"{path} already exists; choose another name, or remove it")


def write_theta(path: Path, theta: Theta, about: Mapping[str, Any]) -> None:
    """What differs from the defaults, and `about`."""
    document = {ABOUT: about, **_differing(theta, DEFAULT_THETA)}
    content = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    assert len(content) <= MAX_BYTES
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        check_path(path)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None


def about_history(files: Sequence[Path], many: Sequence[Series]) -> dict[str, Any]:
    """What was read. Of files only their names: paths are nobody else's business."""
    return {
        "version": version("marketstate-worker"),
        "files": _some([shown(path.name) for path in each_file(files)]),
        "symbols": _some([shown(series.symbol) for series in many]),
        "interval": many[0].interval,
        "first_close": f"{utc(min(int(series.times_ms[0]) for series in many))} UTC",
        "last_close": f"{utc(max(int(series.times_ms[-1]) for series in many))} UTC",
        "states": sum(len(series.times_ms) for series in many),
    }


def _some(names: list[str]) -> list[str]:
    left_out = len(names) - _NAMES
    return names if left_out <= 0 else [*names[:_NAMES], f"and {left_out:,} more"]


def _differing(theta: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in theta.items():
        if isinstance(value, Mapping):
            if inner := _differing(value, default[name]):
                found[name] = inner
        elif value != default[name]:
            found[name] = value
    return found
