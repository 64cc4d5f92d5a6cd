"""`marketstate`: the commands, and how errors become one line and an exit code."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version

from worker import log
from worker.check import preflight
from worker.errors import WorkerError
from worker.loop import run
from worker.settings import settings_from, under_journal
from worker.stop import Stop


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except WorkerError as error:
        print(f"marketstate: {error}", file=sys.stderr)
        return error.exit_code
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
    return parser


def _worker(_options: argparse.Namespace) -> int:
    settings = settings_from(os.environ)
    log.configure(settings.log_level, for_journal=under_journal(os.environ))
    stop = Stop()
    stop.listen()
    run(settings, stop)
    return 0


def _check(_options: argparse.Namespace) -> int:
    try:
        for finding in preflight(settings_from(os.environ)):
            print(finding, flush=True)
    except WorkerError as error:
        print(f"FAIL {error}", flush=True)
        return error.exit_code
    return 0
