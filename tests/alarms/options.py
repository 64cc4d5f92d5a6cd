"""The command line of `scripts/test-alarms`."""

import argparse
from pathlib import Path

parser = argparse.ArgumentParser(
    prog="scripts/test-alarms",
    description="Lets each alarm of deploy/prometheus fire and clear in a real Prometheus, which "
    "scrapes real metrics of a real group, and sends it each query of the dashboard. About two "
    "minutes. Exit code 0 if all is well, 4 if something is not.",
)
parser.add_argument(
    "--picture", type=Path, metavar="FILE", help="draw the dashboard of this run into a PNG"
)

if __name__ == "__main__":
    parser.parse_args()
