"""What command lines may hold: option types that several commands share."""

import argparse
import math


def amount(text: str) -> float:
    """0 or more: entries or seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 0 or more")
    return value
