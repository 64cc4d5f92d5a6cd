"""`marketstate worker`: runs one worker process, from reading settings to the last log line."""

import argparse
import gc
import sys
from typing import Final

from marketstate.worker import log
from marketstate.worker.commands.standard_error import StandardError
from marketstate.worker.engine import loop, partitions
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.errors import WorkerError
from marketstate.worker.settings import service_manager, settings_from, under_journal
from marketstate.worker.stop import Stop

# New objects until the garbage collector looks for cycles. Python's 700 are reached many times in a
# batch, while all of its objects are still in use.
COLLECT_AFTER: Final = 50_000


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


def spare_the_collector() -> None:
    """Look for cycles seldom, and never among what the imports have made, which stays as it is.
    Almost everything that a worker makes is freed without the collector, by its last reference.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
