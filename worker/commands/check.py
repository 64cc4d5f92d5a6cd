"""`marketstate check`: prints the preflight, one line per finding."""

import argparse

from worker.commands.options import add_namespace
from worker.engine.preflight import preflight
from worker.errors import WorkerError
from worker.settings import settings_from


def add_options(parser: argparse.ArgumentParser) -> None:
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    try:
        for finding in preflight(settings_from(namespace=options.namespace)):
            print(finding, flush=True)
    except WorkerError as error:
        print(f"FAIL {error}", flush=True)
        return error.exit_code
    return 0
