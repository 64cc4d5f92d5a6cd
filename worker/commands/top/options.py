"""The command line of `marketstate top`, shown also without the packages that draw the screen."""

import argparse
import importlib

from marketstate.worker.commands.extras import without_extra
from marketstate.worker.commands.options import add_namespace, an_interval


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ascii", action="store_true", help="for terminals that cannot show block characters"
    )
    parser.add_argument(
        "--interval",
        type=an_interval,
        metavar="I",
        help="begin with the states of this interval, such as 5m; default: that of the candles",
    )
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    with without_extra("view", "top"):
        module = importlib.import_module("marketstate.worker.commands.top.command")
    exit_code: int = module.command(options)
    return exit_code
