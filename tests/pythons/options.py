"""The command line of `scripts/test-pythons`.

It imports only the standard library, so that the script can show it before there is an environment.
"""

import argparse


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/test-pythons",
        usage="%(prog)s [--list] [NAME|PROGRAM ...] [-- PYTEST_ARGUMENT ...]",
        description="Installs one wheel into a new environment of each Python of "
        "tests/pythons/pythons.toml, beside packages of others that are called core, schemas and "
        "worker, and runs a part of the tests there; then again, as built by that Python without a "
        "compiler. What cannot be had here is said and left out. It takes two or three minutes for "
        "each; all files are kept in .pythons.",
        epilog="What follows -- goes to pytest; a file or folder there replaces those tests.",
    )
    found.add_argument(
        "names", nargs="*", metavar="NAME|PROGRAM", help="only these, or a Python by its path"
    )
    found.add_argument("--list", action="store_true", help="list the names and exit")
    return found


if __name__ == "__main__":
    parser().parse_args()
