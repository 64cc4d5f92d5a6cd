"""The command line of `scripts/fuzz`.

It imports only the standard library, so that the script can show it before there is an environment.
"""

import argparse
import random


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/fuzz",
        description="Odd entries of all forms through a real Redis and a whole worker, and judges.",
    )
    found.add_argument("--entries", type=int, default=100_000, metavar="N", help="100000")
    found.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(2**32),
        metavar="N",
        help="repeats a run; printed at the start",
    )
    found.add_argument("--old", action="store_true", help="on the Redis 6.2 of a wheel")
    return found


if __name__ == "__main__":
    parser().parse_args()
