"""`marketstate`: the commands, and how errors become one line and an exit code."""

import argparse
import math
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from worker import log
from worker.candle_files import find_files
from worker.check import preflight
from worker.demo import demo
from worker.errors import WorkerError
from worker.loop import run
from worker.settings import settings_from, under_journal
from worker.status_view import show_status
from worker.stop import Stop


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except WorkerError as error:
        priority = "<3>" if under_journal() else ""
        print(f"{priority}marketstate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="marketstate",
        description="Market states from a Redis stream of closed candles. Settings are "
        "MARKETSTATE_* environment variables; see README.",
    )
    parser.add_argument("--version", action="version", version=version("marketstate-worker"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    worker = commands.add_parser("worker", help="work until SIGTERM or SIGINT")
    worker.set_defaults(command=_worker)
    check = commands.add_parser("check", help="look whether a worker could work here")
    check.set_defaults(command=_check)
    status = commands.add_parser("status", help="how far behind the group is, and who holds what")
    status.add_argument("--json", action="store_true", help="for programs, all symbols included")
    status.add_argument("--watch", action="store_true", help="again every 2 seconds")
    status.add_argument(
        "--max-lag",
        type=_number,
        default=math.inf,
        metavar="N",
        help="exit with 4 when more than N entries are not finished (lag + pending)",
    )
    status.add_argument(
        "--max-age",
        type=_number,
        default=math.inf,
        metavar="S",
        help="exit with 4 when the oldest of them is more than S seconds old",
    )
    status.set_defaults(command=_status)
    demo_command = commands.add_parser(
        "demo", help="see it work: a Redis of its own, a worker, and a table of states"
    )
    source = demo_command.add_mutually_exclusive_group()
    source.add_argument(
        "--file",
        nargs="+",
        type=Path,
        default=[],
        metavar="CSV",
        help="real candles, a file per symbol such as BTCUSDT-1m.csv.gz; default: synthetic ones",
    )
    source.add_argument("--data", type=Path, metavar="DIR", help="all candle files of a folder")
    demo_command.add_argument(
        "--seconds", type=_number, default=math.inf, metavar="N", help="end by itself after N"
    )
    demo_command.set_defaults(command=_demo)
    return parser


def _number(text: str) -> float:
    """0 or more: entries or seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return value


def _status(options: argparse.Namespace) -> int:
    show_status(
        settings_from(),
        as_json=options.json,
        watch=options.watch,
        max_lag=options.max_lag,
        max_age_s=options.max_age,
    )
    return 0


def _demo(options: argparse.Namespace) -> int:
    demo(find_files(options.data) if options.data else options.file, options.seconds)
    return 0


def _worker(_options: argparse.Namespace) -> int:
    settings = settings_from()
    log.configure(settings.log_level, for_journal=under_journal())
    stop = Stop()
    stop.listen()
    run(settings, stop)
    return 0


def _check(_options: argparse.Namespace) -> int:
    try:
        for finding in preflight(settings_from()):
            print(finding, flush=True)
    except WorkerError as error:
        print(f"FAIL {error}", flush=True)
        return error.exit_code
    return 0
