"""The command line of `scripts/chaos`.

It imports only the standard library, so that the script can show it before there is an environment.
"""

import argparse
import random
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Injects faults of all kinds into real workers and a real Redis, and judges.",
    )
    found.add_argument("--seed", type=int, default=random.randrange(10**9), metavar="N")
    found.add_argument("--candles", type=int, default=20_000, metavar="N")
    found.add_argument("--faults", type=int, default=50, metavar="N")
    found.add_argument("--workers", type=int, default=4, metavar="N")
    found.add_argument(
        "--cluster", action="store_true", help="on a Redis Cluster of three masters and replicas"
    )
    found.add_argument(
        "--bridge",
        action="store_true",
        help="the same, fed through one stream and `marketstate gather --partitions`",
    )
    found.add_argument(
        "--partitions",
        type=int,
        default=4,
        metavar="N",
        help="with --cluster or --bridge; default: 4",
    )
    found.add_argument(
        "--intervals", action="store_true", help="with five longer intervals beside 1m"
    )
    found.add_argument(
        "--history", type=Path, metavar="FILE", help="write the history here; .gz compresses"
    )
    found.add_argument("--break", dest="break_name", metavar="NAME", help="use broken workers")
    found.add_argument(
        "--only", action="append", metavar="FAULT", help="only these faults; repeatable"
    )
    found.add_argument("--list", action="store_true", help="list all faults and broken workers")
    found.add_argument(
        "--check", type=Path, nargs="+", metavar="FILE", help="judge a history again"
    )
    return found


if __name__ == "__main__":
    parser().parse_args()
