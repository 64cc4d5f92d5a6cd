"""What command lines may hold: option types that several commands share."""

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
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return value


def count(text: str) -> int:
    """A whole number of 1 or more."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)
