"""`marketstate metrics`: what `status` shows and more, once, in the text format of Prometheus."""

import argparse
import sys
from pathlib import Path

from marketstate.worker.commands.extras import without_extra
from marketstate.worker.commands.metrics.reading import read
from marketstate.worker.commands.options import add_namespace, textfile
from marketstate.worker.engine.all_partitions import AllPartitions
from marketstate.worker.settings import settings_from


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--textfile",
        type=textfile,
        metavar="FILE",
        help="replace this file, for the textfile collector of node_exporter; it ends in .prom",
    )
    parser.add_argument(
        "--per-symbol",
        action="store_true",
        help="also the state of each symbol, which is seven series for each and each interval",
    )
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    """What cannot be read is said by `marketstate_up`, and by the exit code."""
    with without_extra("metrics", "metrics"):
        # Here, so that --help needs no package.
        from marketstate.worker.commands.metrics.families import families, text  # noqa: PLC0415
        from marketstate.worker.commands.metrics.textfile import replace  # noqa: PLC0415
    settings = settings_from(namespace=options.namespace)
    every = AllPartitions(settings)
    try:
        reading = read(every, settings, per_symbol=options.per_symbol)
    finally:
        every.close()
    path: Path | None = options.textfile
    if path is None:
        sys.stdout.write(text(reading).decode())
        sys.stdout.flush()
    else:
        replace(path, families(reading))
    if reading.failure is not None:
        raise reading.failure
    return 0
