"""The command line of `scripts/bits`.

It imports only the standard library, so that the script can show it before there is an environment.
"""

import argparse

from tests.support.seed import add_seed


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}; give a whole number above 0")
    return int(text)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/bits",
        description="Draws hard windows of prices, and compares their states bit by bit, however "
        "they are calculated: by the compiled kernel with AVX2 and without, by its twin in numpy, "
        "and the slopes by scipy. Exit code 0 means equal, 4 that a bit differs.",
    )
    found.add_argument("--windows", type=_positive, default=100_000, metavar="N", help="100000")
    add_seed(found)
    found.add_argument(
        "--numpy-every", type=_positive, default=10, metavar="N", help="numpy: one window in N; 10"
    )
    found.add_argument(
        "--scipy-every", type=_positive, default=50, metavar="N", help="scipy: one window in N; 50"
    )
    found.add_argument(
        "--cc",
        metavar="COMMAND",
        help="compile the kernel also with this compiler, as a program, and compare its states: "
        "'gcc -fsanitize=address,undefined', 'clang', 'aarch64-linux-gnu-gcc -static' ...",
    )
    found.add_argument(
        "--under", default="", metavar="COMMAND", help="run that program under this: qemu-aarch64"
    )
    found.add_argument(
        "--block", type=int, metavar="N", help="only this block of a run, to look at a difference"
    )
    return found


if __name__ == "__main__":
    parser().parse_args()
