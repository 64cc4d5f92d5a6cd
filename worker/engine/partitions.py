"""All partitions in one process: a loop for each, in a thread with its own connections to Redis.

A loop that waits for Redis, or calculates in C, leaves Python to the others. One whose node is away
waits for it alone. What ends one loop ends them all, as it would end a worker.
"""

import threading
import time
from collections.abc import Iterable
from typing import Final

import redis

from marketstate.worker.engine.group import refuse_another_number
from marketstate.worker.engine.loop import run as run_loop
from marketstate.worker.engine.shared_notifier import LoopNotifier, SharedNotifier
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.log import begin_lines_with, log
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop, ThreadStop
from marketstate.worker.store import connection
from marketstate.worker.store.refusal import refuses_for_now

# Half of what systemd waits, and many times what a batch takes.
STOP_WITHIN_S: Final = 10.0


def run(settings: Settings, stop: Stop, notifier: SystemdNotifier) -> None:
    """Work on all partitions until `stop` is requested. Raises what ended the first loop that could
    not go on.
    """
    partitions = settings.each_partition()
    _refuse_another_number(partitions[0])
    names = [f"p{number:02d}" for number in range(len(partitions))]
    stops = [stop.of_thread() for _ in partitions]
    notifiers = SharedNotifier(notifier, names).of_each()
    errors: list[Exception] = []
    ended = threading.Event()

    def loop(name: str, settings: Settings, stop: ThreadStop, notifier: LoopNotifier) -> None:
        begin_lines_with(name)
        try:
            run_loop(settings, stop, notifier)
        except Exception as error:
            errors.append(error)
        finally:
            ended.set()

    threads = [
        threading.Thread(target=loop, args=each, name=each[0], daemon=True)
        for each in zip(names, partitions, stops, notifiers, strict=True)
    ]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
        stop.interrupts(ended.wait)
    except RuntimeError as error:
        raise ConfigurationError(
            f"a worker needs a thread for each of its {len(threads)} partitions, and the system "
            f"gives it {len(started)} ({error}): raise TasksMax of the service, or `ulimit -u`"
        ) from error
    finally:
        for each in stops:
            each.request()
        _wait_for(started)
    if errors:
        raise errors[0]


def _wait_for(loops: Iterable[threading.Thread]) -> None:
    """Until they have ended. One that waits for a node that hangs is left behind: it would only
    find out that it cannot release its shards.
    """
    give_up_s = time.monotonic() + STOP_WITHIN_S
    for loop in loops:
        loop.join(max(0.0, give_up_s - time.monotonic()))
        if loop.is_alive():
            log.warning(
                "stopped, and %s does not wait for Redis any longer; the leases there will expire",
                loop.name,
            )


def _refuse_another_number(first: Settings) -> None:
    """Before any loop creates a group: with another number, the first partition is there too."""
    try:
        with connection.open_client(first, block_s=0) as client:
            refuse_another_number(client, first)
    except redis.RedisError as error:
        # While Redis loads its data, the loops wait for it.
        if not refuses_for_now(error):
            raise connection.unusable(error, first) from error
