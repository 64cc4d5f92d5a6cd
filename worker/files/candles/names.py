"""What the names of candle files say, as in `BTC-USD-1h-2025-05.csv`: symbol and interval."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from marketstate.schemas.interval import read_interval
from marketstate.schemas.symbol import plain
from marketstate.worker.errors import ConfigurationError, FileUnusable
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.opening import CutOff, lines_of, name_inside
from marketstate.worker.files.piped import is_nameless

SUFFIXES: Final = (".csv", ".csv.gz", ".zip")


class Named(NamedTuple):
    symbol: str | None
    interval: str | None
    """In our notation."""


def is_candle_file(path: Path) -> bool:
    """By its name, or by its content if it has none: a recording is lines of JSON."""
    if not is_nameless(path):
        return path.name.lower().endswith(SUFFIXES)
    try:
        return not next(lines_of(path), "").startswith("{")
    except CutOff:
        return True


def find_files(folder: Path) -> list[Path]:
    """The candle files of a folder, sorted by name."""
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder; expected one with candle files")
    found = sorted(path for path in folder.iterdir() if is_candle_file(path))
    if not found:
        raise ConfigurationError(f"{folder} has no file ending in {' or '.join(SUFFIXES)}")
    return found


def each_file(paths: Iterable[Path]) -> list[Path]:
    """The files in `paths`, with each folder replaced by its candle files."""
    paths = list(paths)
    if missing := [str(path) for path in paths if not path.exists()]:
        raise FileUnusable(f"there is no file or folder {', '.join(missing)}")
    return [file for path in paths for file in (find_files(path) if path.is_dir() else [path])]


def identity(path: Path, said: Said) -> tuple[str, str]:
    """Symbol and interval of a file. Raises FileUnusable if nothing says them."""
    found = _named(path)
    symbol, interval = said.symbol or found.symbol, said.interval or found.interval
    if symbol and interval:
        return symbol, interval
    if is_nameless(path) and _is_empty(path):
        raise FileUnusable(f"{path} is empty")
    options = [
        option
        for option, value in (("--symbol", symbol), ("--interval", interval))
        if value is None
    ]
    raise FileUnusable(
        f"{path}: the name must give symbol and interval once, as in BTCUSDT-1m.csv; or say them "
        f"with {' and '.join(options)}"
    )


def _is_empty(path: Path) -> bool:
    try:
        return not next(lines_of(path), "")
    except CutOff:
        return False


def _named(path: Path) -> Named:
    outside = parsed(path.name)
    member = name_inside(path)
    if member is None:
        return outside
    inside = parsed(member)
    agree = (
        not (inside.symbol and outside.symbol) or plain(inside.symbol) == plain(outside.symbol)
    ) and (not (inside.interval and outside.interval) or inside.interval == outside.interval)
    if not agree:
        raise FileUnusable(
            f"{path} holds a file named {member}: two different symbols or intervals; rename one"
        )
    return outside if outside.interval else inside


def parsed(name: str) -> Named:
    """Symbol and interval in a file's name; neither if it has no interval, or more than one."""
    stem = name
    while (end := re.search(r"\.(csv|gz|zip)\Z", stem, re.IGNORECASE)) is not None:
        stem = stem[: end.start()]
    found = [
        (match, interval)
        for match in re.finditer(r"[-_ .]([^-_ .]+)", stem)
        if (interval := read_interval(match[1])) and match.start() > 0
    ]
    if len(found) != 1:
        return Named(None, None)
    match, interval = found[0]
    return Named(stem[: match.start()], interval)
