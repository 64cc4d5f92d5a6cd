"""The option that repeats a run of drawn cases; with the standard library alone."""

import argparse
import random


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(2**32),
        metavar="N",
        help="repeats a run; printed at the start",
    )
