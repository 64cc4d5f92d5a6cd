"""The command line of `scripts/bench`.

It imports only the standard library, so that the script can show it before there is an environment.
"""

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/bench",
        description="What a state, a close and a worker cost, as tables and as JSON. All benches "
        "take about five minutes on a quiet machine. Ratios are meaningful on any machine; other "
        "numbers can only be compared within the same run.",
    )
    found.add_argument("names", nargs="*", metavar="NAME", help="only these; --list shows them")
    found.add_argument("--list", action="store_true", help="list the benches and exit")
    found.add_argument(
        "--json", type=Path, metavar="FILE", help="write to FILE; default: .bench/<time>.json"
    )
    found.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="FILE is what an earlier run wrote: beside each figure, its ratio to that one",
    )
    found.add_argument(
        "--quick", action="store_true", help="smallest sizes, only to see if the benches work"
    )
    return found


if __name__ == "__main__":
    parser().parse_args()
