"""The limits of the backlog, by which `status` exits with 4 and `/healthz` of `serve` says 503."""

import argparse
import math
from typing import NamedTuple

from marketstate.worker.commands.durations import brief_duration
from marketstate.worker.commands.options import amount
from marketstate.worker.engine.status import Status, in_words
from marketstate.worker.errors import CheckFailed


class Limits(NamedTuple):
    max_lag: float
    """Of unfinished entries."""
    max_age_s: float
    """Of the oldest of them."""


def add_limits(
    parser: argparse.ArgumentParser, consequence: str, max_age_s: float = math.inf
) -> None:
    by_default = f"; default: {max_age_s:g}" if max_age_s < math.inf else ""
    parser.add_argument(
        "--max-lag",
        type=amount,
        default=math.inf,
        metavar="N",
        help=f"{consequence} if more than N entries are unfinished (lag + pending)",
    )
    parser.add_argument(
        "--max-age",
        type=amount,
        default=max_age_s,
        metavar="S",
        help=f"{consequence} if the oldest unfinished entry is more than S seconds old{by_default}",
    )


def limits_of(options: argparse.Namespace) -> Limits:
    return Limits(options.max_lag, options.max_age)


def judge(status: Status, limits: Limits) -> None:
    """Raises CheckFailed if the backlog exceeds a limit."""
    if status.backlog > limits.max_lag:
        backlog = in_words(status.backlog, at_least=status.lag_at_least)
        raise CheckFailed(f"{backlog} entries are unfinished; allowed: {limits.max_lag:g}")
    if status.oldest_unfinished_s > limits.max_age_s:
        raise CheckFailed(
            f"the oldest unfinished entry is {brief_duration(status.oldest_unfinished_s)} old; "
            f"allowed: {limits.max_age_s:g}s"
        )
