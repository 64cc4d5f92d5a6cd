"""`marketstate reload`: hands its settings to the worker of the same systemd service."""

import argparse
import os
import signal

from worker.errors import ConfigurationError
from worker.settings import hand_over


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None: systemd says which worker it is."""


def command(_options: argparse.Namespace) -> int:
    # What is wrong is said here, and the worker never sees it.
    pid = hand_over()
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise ConfigurationError(f"cannot signal the worker {pid}: {error.strerror}") from None
    return 0
