"""The command line of `scripts/test-servers`.

It imports only the standard library, so that the script can show it before there is an environment.
"""

import argparse


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="scripts/test-servers",
        usage="%(prog)s [--clients] [--list] [NAME ...] [-- PYTEST_ARGUMENT ...]",
        description="Runs the integration, property and fault tests that need a Redis, on each "
        "server of tests/servers/servers.toml. What cannot be had here is said and left out. It "
        "takes about ten minutes for each; all files are kept in .servers.",
        epilog="What follows -- goes to pytest; a file or folder there replaces those folders.",
    )
    found.add_argument("names", nargs="*", metavar="NAME", help="only these")
    found.add_argument("--list", action="store_true", help="list the names and exit")
    found.add_argument(
        "--clients",
        action="store_true",
        help="the integration tests with each redis-py of the list, on its last server",
    )
    return found


if __name__ == "__main__":
    parser().parse_args()
