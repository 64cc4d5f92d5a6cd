"""Command-line option types that several commands share."""

import argparse
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from marketstate.schemas.candle import CandleRejected, check_symbol
from marketstate.schemas.entry_id import GREATEST, parse_entry_id
from marketstate.schemas.interval import interval_ms, read_interval
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.columns import UNUSED, role_of
from marketstate.worker.files.candles.said import NOTHING, Said
from marketstate.worker.settings import Settings

_COLUMNS: Final = (
    *("open_time", "close_time", "time", "open", "high", "low", "close", "volume"),
    *("symbol", "interval", "is_closed"),
)


def number(text: str) -> float:
    """Not a number if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def amount(text: str) -> float:
    """0 or more: entries or seconds."""
    value = number(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, 0 or more")
    return value


def count(text: str) -> int:
    """A whole number, 1 or more."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def positive(text: str) -> float:
    value = amount(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0")
    return value


def moment(text: str) -> str:
    """An id for XRANGE. A time becomes its millisecond."""
    if re.fullmatch("[0-9]{1,20}(-[0-9]{1,20})?", text) and max(parse_entry_id(text)) <= GREATEST:
        return text
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be an entry id such as 1746373260000-0 or a time such as "
            "2026-11-24T15:40"
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return str(max(0, int(time.timestamp() * 1_000)))


def textfile(text: str) -> Path:
    """A file that the textfile collector of node_exporter reads: it passes over other names."""
    if not text.endswith(".prom"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .prom")
    return Path(text)


def add_namespace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--namespace",
        type=_namespace,
        metavar="NAME",
        help="use the keys of the replay NAME (or set MARKETSTATE_REPLAY_NAMESPACE=NAME)",
    )


def of_interval(settings: Settings, name: str | None) -> Settings:
    """The settings of the interval that is named, or of the candle interval. Raises
    ConfigurationError for one whose states are not published.
    """
    if name is None:
        return settings
    found = published_interval(settings, name)
    if found is None:
        raise ConfigurationError(
            f"{name} is not one of the intervals of MARKETSTATE_INTERVALS, which are "
            f"{names_of_intervals(settings)}; use one of these, or set it as the workers have it"
        )
    return found


def published_interval(settings: Settings, name: str) -> Settings | None:
    """The settings of the interval of this length; None if its states are not published."""
    length_ms = interval_ms(name)
    every = settings.each_interval
    return next((each for each in every if each.candle_interval_ms == length_ms), None)


def names_of_intervals(settings: Settings) -> str:
    return ", ".join(each.candle_interval for each in settings.each_interval)


def add_candle_files(
    parser: argparse.ArgumentParser, interval: str = "--interval", *, without_files: str = ""
) -> None:
    """What candle files cannot say themselves; `said` reads it. `without_files`: what the interval
    is otherwise.
    """
    group = parser.add_argument_group("candle files", "for what their names and columns do not say")
    group.add_argument("--symbol", type=_symbol, metavar="NAME", help="the symbol of all files")
    group.add_argument(
        interval,
        dest="interval",
        type=an_interval,
        metavar="I",
        help=f"the time between two candles, such as 1h{without_files}",
    )
    group.add_argument(
        "--columns",
        type=_columns,
        default=(),
        metavar="NAMES",
        help="the columns in their order, such as time,open,close,high,low,volume; - is not used",
    )
    group.add_argument(
        "--time",
        choices=("open", "close"),
        help="whether a column such as `timestamp` is the open or the close time",
    )
    group.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out and count lines that cannot be used; default: refuse the file",
    )


def said(options: argparse.Namespace) -> Said:
    return Said(options.symbol, options.interval, options.columns, options.time)


def refuse_options_of_files(
    options: argparse.Namespace, where: str, *, but_interval: bool = False
) -> None:
    """Raise ConfigurationError for what only counts with files; `where` is how to name some. With
    `but_interval`, that also counts without.
    """
    found = said(options)._replace(interval=None) if but_interval else said(options)
    if found != NOTHING or options.skip_bad:
        interval = "" if but_interval else "--interval, "
        raise ConfigurationError(
            f"--symbol, {interval}--columns, --time and --skip-bad are for files: see {where}"
        )


def _symbol(text: str) -> str:
    try:
        check_symbol(text)
    except CandleRejected as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def an_interval(text: str) -> str:
    found = read_interval(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be an interval such as 1m, 4h or 1d")
    return found


def _columns(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name != UNUSED and role_of(name) is None:
            raise argparse.ArgumentTypeError(
                f"{name!r} must be one of {', '.join(_COLUMNS)}, or {UNUSED} for a column that is "
                "not used"
            )
    return names


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 to 64 letters, digits and . _ -")
    return text
