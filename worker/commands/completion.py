"""`marketstate completion`: prints with what a shell completes commands, options and files."""

import argparse
import re
from typing import Any, Final

from marketstate.worker.cli import COMMANDS, parser_of
from marketstate.worker.commands.extras import without_extra

SHELLS: Final = ("bash", "zsh", "fish")
_FILE: Final = re.compile(r"(FILE|CSV|RECORDING|PATH)\b")
_FOLDER: Final = "DIR"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)
    parser.add_argument(
        "--program",
        default="marketstate",
        metavar="NAME",
        help="the program to complete, another name of marketstate; default: %(default)s",
    )


def command(options: argparse.Namespace) -> int:
    with without_extra("completion", "completion"):
        import shtab  # noqa: PLC0415
    parser = parser_of(COMMANDS, options.program)
    _mark_files(parser, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(parser, options.shell))
    return 0


def _mark_files(parser: argparse.ArgumentParser, file: Any, folder: Any) -> None:
    """What takes files or folders, as its placeholder says, in the parser and those of commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _mark_files(inner, file, folder)
        elif isinstance(action.metavar, str):
            if _FILE.match(action.metavar):
                action.complete = file  # type: ignore[attr-defined]
            elif action.metavar == _FOLDER:
                action.complete = folder  # type: ignore[attr-defined]
