"""The command line of `scripts/test-page`."""

import argparse
from pathlib import Path

parser = argparse.ArgumentParser(
    prog="scripts/test-page",
    description="The tests of the live page, in a real Chromium without a window. What they need "
    "is installed: Debian's chromium and chromium-driver, npm for axe-core, selenium into .venv. "
    "About five minutes. Exit code 2 if something cannot be had; without axe-core alone, all other "
    "tests run.",
    epilog="What follows -- goes to pytest.",
)
parser.add_argument(
    "--pictures", type=Path, metavar="FOLDER", help="draw the page there, in many sizes"
)
parser.add_argument("pytest", nargs="*", metavar="-- OPTION", help="for pytest: -- -k narrow")

if __name__ == "__main__":
    parser.parse_args()
