"""`marketstate plot`: price with its regime, sigma, ts and the regime probabilities, as a file.

The states come from the output stream, or with `--from` from files: recordings, or candles whose
states are calculated here.
"""

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import redis

from worker import connection
from worker.errors import ConfigurationError
from worker.markets import newest_entries, readable
from worker.options import amount
from worker.plot_figure import write_figure
from worker.plot_page import write_page
from worker.plot_states import Series, series_of_files, series_of_records
from worker.settings import Settings, settings_from

WRITERS: Final = {".png": write_figure, ".svg": write_figure, ".html": write_page}
# As many as the output stream keeps by default.
_ENTRIES_READ: Final = 10_000
_MOST_SYMBOLS: Final = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="with --from: default all")
    parser.add_argument(
        "--from",
        dest="files",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="recordings, or candle files (CSV); default: the output stream",
    )
    parser.add_argument(
        "--last", type=amount, default=1_440, metavar="N", help="states a symbol; default 1440"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"what to write, by its ending: {', '.join(WRITERS)}",
    )


def command(options: argparse.Namespace) -> int:
    settings = settings_from()
    write = WRITERS.get(options.out.suffix)
    if write is None:
        raise ConfigurationError(
            f"--out {options.out}: the name must end in {', '.join(WRITERS)}"
        )
