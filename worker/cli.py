"""`marketstate`: the commands, and how errors become one line and an exit code.

Each command is a module with `add_options(parser)` and `command(options)`. Only the module of the
given command is imported, so that it does not pay for what others need.
"""

import argparse
import difflib
import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Collection
from importlib.metadata import version
from typing import Final

from marketstate.worker.errors import ConfigurationError, WorkerError
from marketstate.worker.settings import under_journal

COMMANDS: Final = {
    "worker": ("worker", "run a worker until SIGTERM or SIGINT"),
    "reload": ("reload", "let the worker of a systemd service read its settings again"),
    "check": ("check", "check whether a worker could run here"),
    "status": ("status", "show how far behind the group is, and who holds which shards"),
    "verify": ("verify.command", "verify that published states are correct and fresh"),
    "metrics": (
        "metrics.command",
        "print metrics for Prometheus, or write them to a file",
    ),
    "serve": ("serve.command", "serve metrics and a live page of all markets over HTTP"),
    "top": ("top.options", "watch all markets live in the terminal"),
    "plot": ("plot.command", "plot price, regime and metrics of symbols to a file"),
    "state": ("state", "calculate and explain the state of a price file; needs no Redis"),
    "history": (
        "history.command",
        "write the states of files to a file, such as Parquet; no Redis",
    ),
    "describe": ("describe.command", "describe the states of files, and how often rules fire"),
    "calibrate": (
        "calibrate.command",
        "fit the weights of the regimes to a history, and say what they are worth",
    ),
    "record": ("record.command", "write the entries of a stream to a file"),
    "gather": ("gather.command", "append the candles of many streams to the one of the workers"),
    "replay": ("replay.command", "feed recordings or candle files, separate from the live system"),
    "explain": (
        "explain",
        "explain a setting: what it does, its value here and where that is from",
    ),
    "warm": ("warm.command", "put the closes of candle files into windows"),
    "purge": ("purge", "remove what a group keeps in Redis, after showing it"),
    "repartition": (
        "repartition.command",
        "move what a group keeps of its symbols to other partitions",
    ),
    "completion": ("completion", "print with what bash, zsh or fish completes this program"),
    "demo": ("demo", "see it work: starts a Redis and a worker, and shows a table of states"),
}

OUTPUT_ENDED: Final = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT)


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As on standard error: a symbol that the terminal cannot show must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options, unknown = _parser(given).parse_known_args(given)
        if unknown:
            options.refuse(f"unrecognized arguments: {' '.join(unknown)}")
        exit_code: int = options.command(options)
        return exit_code
    except WorkerError as error:
        priority = "<3>" if under_journal() else ""
        print(f"{priority}marketstate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OUTPUT_ENDED:
            return _give_up_output(error)
        traceback.print_exc()
        return 1


def _give_up_output(error: OSError) -> int:
    # Without this, flushing standard output at exit would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return 0  # the reader, such as `head`, has seen enough
    print(f"marketstate: cannot write the output: {error.strerror}", file=sys.stderr)
    return 1


def _parser(given: list[str]) -> argparse.ArgumentParser:
    # The first word that is not an option is the command.
    command = next((word for word in given if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise ConfigurationError(_unknown(command))
    # The others only need a help line.
    return parser_of([] if command is None else [command])


def parser_of(
    described: Collection[str] = COMMANDS.keys(), program: str = "marketstate"
) -> argparse.ArgumentParser:
    """All commands, and the options of those to be `described`, whose modules it imports."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Market states from a Redis stream of closed candles. Settings are "
        "MARKETSTATE_* environment variables; see deploy/README.md, Settings.",
    )
    parser.add_argument("--version", action="version", version=version("marketstate-worker"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module_name, text) in COMMANDS.items():
        command_parser = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        if name in described:
            module = importlib.import_module(f"marketstate.worker.commands.{module_name}")
            module.add_options(command_parser)
            # A mistake is answered with the usage of the command, not with that of all.
            command_parser.set_defaults(command=module.command, refuse=command_parser.error)
    return parser


def _unknown(command: str) -> str:
    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else "marketstate --help lists all"
    return f"{command!r} is not a command; {hint}"
