"""`marketstate check`: prints the preflight, one line per finding."""

import argparse

from worker.engine.preflight import preflight
from worker.errors import WorkerError
from worker.settings import settings_from


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None: it checks the settings."""


def command(_options: argparse.Namespace) -> int:
    try:
        for finding in preflight(settings_from()):
            print(finding, flush=True)
    except WorkerError as error:
        print(f"FAIL {error}", flush=True)
        return error.exit_code
    return 0
