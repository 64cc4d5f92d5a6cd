"""The command line of `scripts/fuzz`.

It imports only the standard library, so that the script can show it before there is an environment.
"""

import argparse

from tests.support.seed import add_seed


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/fuzz",
        description="Odd entries of all forms through a real Redis and a whole worker, and judges.",
    )
    found.add_argument("--entries", type=int, default=100_000, metavar="N", help="100000")
    add_seed(found)
    found.add_argument("--old", action="store_true", help="on the Redis 6.2 of a wheel")
    return found


if __name__ == "__main__":
    parser().parse_args()
