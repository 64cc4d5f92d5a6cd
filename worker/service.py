"""`marketstate worker`: one worker as a process, from its settings to its last log line."""

import argparse

from worker import log
from worker.loop import run
from worker.settings import settings_from, under_journal
from worker.stop import Stop


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None: all that could be chosen is a setting."""


def command(_options: argparse.Namespace) -> int:
    settings = settings_from()
    log.configure(settings.log_level, for_journal=under_journal())
    stop = Stop()
    stop.listen()
    run(settings, stop)
    return 0
