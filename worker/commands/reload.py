"""`marketstate reload`: hands its settings to the worker of the same systemd service."""

import argparse
import os
import signal
from typing import Final

from marketstate.worker.errors import ConfigurationError, RedisUnusable
from marketstate.worker.setting_files import forget_answer, wait_for_answer
from marketstate.worker.settings import hand_over

# A worker finishes its batch first, and may wait for a slow Redis.
_PATIENCE_S: Final = 20.0


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None: systemd says which worker it is."""


def command(_options: argparse.Namespace) -> int:
    # What is wrong is said here, and the worker never sees it.
    pid, folder = hand_over()
    forget_answer(folder)
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise ConfigurationError(f"cannot signal the worker {pid}: {error.strerror}") from None
    answer = wait_for_answer(folder, _PATIENCE_S)
    if answer is None:
        raise RedisUnusable(
            f"the worker {pid} has not answered within {_PATIENCE_S:g} s; while Redis is away, it "
            "reads its settings when Redis is back, and its log says what has changed"
        )
    if answer.in_force:
        print(answer.in_force)
    if answer.not_in_force:
        raise ConfigurationError(answer.not_in_force)
    return 0
