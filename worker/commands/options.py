"""Command-line option types that several commands share."""

import argparse
import math
import re


def amount(text: str) -> float:
    """0 or more: entries or seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
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


def add_namespace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--namespace",
        type=_namespace,
        metavar="NAME",
        help="use the keys of the replay NAME (or set MARKETSTATE_REPLAY_NAMESPACE=NAME)",
    )


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 to 64 letters, digits and . _ -")
    return text
