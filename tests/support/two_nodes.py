"""A worker with two partitions, each on a Redis of its own; run as a process by the tests.

The second Redis is at the port MARKETSTATE_REDIS_PORT says; the first at OTHER_PORT.
"""

import os
import sys

from msgspec.structs import replace

from marketstate.worker.cli import main
from marketstate.worker.engine import partitions
from marketstate.worker.settings import Settings

PORT_OF_FIRST = "OTHER_PORT"
STOP_WITHIN_S = 3.0
of_partition = Settings.of_partition


def on_its_node(settings: Settings, partition: int) -> Settings:
    found = of_partition(settings, partition)
    return found if partition else replace(found, redis_port=int(os.environ[PORT_OF_FIRST]))


if __name__ == "__main__":
    partitions.STOP_WITHIN_S = STOP_WITHIN_S  # type: ignore[misc]
    Settings.of_partition = on_its_node  # type: ignore[assignment,method-assign]
    sys.exit(main(["worker"]))
