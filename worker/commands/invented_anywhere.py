"""What the commands say first about synthetic prices: of all partitions, once."""

from marketstate.worker.commands.folding import folded
from marketstate.worker.engine.all_partitions import AllPartitions
from marketstate.worker.engine.invented import TITLE, invented
from marketstate.worker.engine.preflight import Finding
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client


def invented_anywhere(every: AllPartitions, settings: Settings) -> list[Finding]:
    """What `invented` says of all partitions: a failure where it is recent."""
    answers = every.ask(_invented)
    found = [(answer.tag, answer.found or []) for answer in answers]
    return folded(found, settings.partitions)


def _invented(client: Client, settings: Settings) -> list[Finding]:
    return [
        Finding("FAIL" if found.is_recent else "warn", TITLE, found.text)
        for found in invented(client, settings)
    ]
