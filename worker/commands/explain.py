"""`marketstate explain`: what a setting does, its default, its value here, and where that is from.

Values come from the environment of this command. A service gets them from an environment file, so
that is read too: a file that says something else is named.
"""

import argparse
from pathlib import Path
from typing import Final

from marketstate.worker.commands.environment_file import environment_file
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.settings import Explained, explained, explained_setting, settings_from

ENVIRONMENT_FILE: Final = Path("/etc/quantum/marketstate.env")
_VALUE_WIDTH: Final = 32

TEXTS: Final = {
    "symbols": "The symbols to process, separated by commas and written as in the candles; or all.",
    "publish_interval": "Seconds between two states of a symbol.",
    "window_size": "Closes that are kept of each symbol; at least as many as theta needs.",
    "candle_interval": "The time between two candles. Fixed when the group is created.",
    "intervals": "The candle interval and longer ones, of which states are published too; not set: "
    "the candle interval alone.",
    "rate_clock": "What the publish interval follows: close times (candle), or real time (wall).",
    "emit_on_regime_change": "Whether another regime is published at once, before the next state "
    "is due.",
    "source": "Whether real candles are read, or synthetic prices are invented.",
    "redis_host": "The host of Redis.",
    "redis_port": "The port of Redis.",
    "redis_db": "The number of the database in Redis.",
    "redis_username": "The user that logs in to Redis; without one, it is `default`.",
    "redis_password": "The password of that user. The file is safer: it shows in no process list.",
    "redis_password_file": "The file with the password of that user.",
    "redis_url": "The whole address of Redis. It wins over host and port.",
    "input_stream": "The stream with the candles. Fixed when the group is created.",
    "max_ahead": "Seconds that a closed candle may close after its entry was written, since clocks "
    "differ. With more, it is a dead letter.",
    "group": "The consumer group on the input stream that the workers share.",
    "output_prefix": "What the keys of the symbols' states start with. It ends in a colon.",
    "output_stream": "The stream to which each state is appended.",
    "output_maxlen": "Entries that are kept in the output stream, roughly.",
    "dead_stream": "The stream with the entries that cannot be used, each with the reason.",
    "dead_maxlen": "Entries that are kept in the stream of dead letters, roughly.",
    "shards": "Into how many parts the symbols are divided; so many workers can share the work. "
    "Fixed when the group is created.",
    "partitions": "Into how many groups the symbols are divided, each on a stream of its own; not "
    "set: one group. Fixed when the groups are created.",
    "start": "What happens to entries older than the group: they fill the windows (warm), their "
    "states are published too (replay), or they are skipped (new).",
    "backfill_keys": "Candle caches from which a symbol without a window is filled; with "
    "{interval} in a key, each interval from its own; or none, which is the default unless candles "
    "are of 1m.",
    "theta_file": "A JSON file with the parameters of the calculation to override.",
    "lease_seconds": "How long a silent worker keeps its shards.",
    "batch": "Entries in a commit, at most.",
    "max_pending": "Entries that are taken and not finished, at most, in the whole group; with "
    "partitions, in each of them.",
    "retire_after": "A symbol without a candle for so long is forgotten; if it comes back, its "
    "window starts over.",
    "max_gap": "Candles that may be missing in a row; after more, the window starts over. If it is "
    "not set: as many as theta needs.",
    "max_symbols": "Symbols of the whole group, or of all partitions together, at most. Entries of "
    "others are dead letters.",
    "worker_id": "The name of this worker, unique in its group.",
    "log_level": "Log lines below this level are left out.",
    "replay_namespace": "Work on the keys of this replay, whatever other settings say about keys.",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "setting",
        nargs="?",
        metavar="SETTING",
        help="such as publish_interval or MARKETSTATE_PUBLISH_INTERVAL; default: list all",
    )
    parser.add_argument(
        "--file",
        type=Path,
        default=ENVIRONMENT_FILE,
        metavar="FILE",
        help=f"the environment file of the services; default: {ENVIRONMENT_FILE}",
    )


def command(options: argparse.Namespace) -> int:
    in_file, unreadable = environment_file(options.file)
    if options.setting:
        found = explained_setting(options.setting)
        print(found.variable)
        print(f"  {TEXTS[found.name]}")
        print(f"  allowed   {found.allowed}")
        print(f"  default   {found.default or '-'}")
        print(f"  here      {found.here or '-'}")
        print(f"  from      {_source(found, in_file, options.file)}")
    else:
        for found in explained():
            here = found.here or "-"
            if len(here) > _VALUE_WIDTH:
                here = f"{here[: _VALUE_WIDTH - 3]}..."
            source = _source(found, in_file, options.file)
            print(f"{found.variable:33} {here:{_VALUE_WIDTH}} {source}")
    if namespace := explained_setting("replay_namespace").given:
        print(f"\nthe keys are those of the replay {namespace}, whatever settings say about keys")
    if unreadable:
        print(f"\n{options.file} cannot be read ({unreadable}), so it may say something else")
    try:
        settings_from(several_inputs=True)
    except ConfigurationError as error:
        raise ConfigurationError(f"a worker would not start here: {error}") from None
    return 0


def _source(found: Explained, in_file: dict[str, str], file: Path) -> str:
    filed = in_file.get(found.variable, "")
    if found.given and found.given == filed:
        return f"environment file {file}"
    source = "environment" if found.given else "default"
    if filed:
        shown = "another value" if found.is_secret else filed
        source += f"; the services have {shown} from {file}"
    return source
