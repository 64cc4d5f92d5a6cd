"""`marketstate worker`: runs one worker process, from reading settings to the last log line."""

import argparse
import sys

from marketstate.worker import log
from marketstate.worker.commands.standard_error import StandardError
from marketstate.worker.engine import loop, partitions
from marketstate.worker.engine.collector import spare_the_collector
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.errors import WorkerError
from marketstate.worker.settings import service_manager, settings_from, under_journal
from marketstate.worker.stop import Stop


def add_options(_parser: argparse.ArgumentParser) -> None:
    """None: everything is a setting."""


def command(_options: argparse.Namespace) -> int:
    sys.stderr = StandardError(sys.stderr.fileno(), before_notice="<4>" if under_journal() else "")
    notifier = SystemdNotifier(*service_manager())
    try:
        settings = settings_from()
        log.configure(settings.log_level, for_journal=under_journal())
        stop = Stop()
        stop.listen()
        stop.listen_for_hangup()
        spare_the_collector()
        log.log.info("Initialized with %s", settings.described())
        run = loop.run if settings.partitions is None else partitions.run
        run(settings, stop, notifier)
    except WorkerError as error:
        notifier.failed(error)
        raise
    finally:
        log.repeats.tell(at_once=True)
    return 0
