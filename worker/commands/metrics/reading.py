"""One reading of everything that is shown as metrics, of each partition."""

import time
from collections.abc import Mapping
from typing import NamedTuple

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.markets import latest_records
from marketstate.worker.engine.all_partitions import AllPartitions, Answer, unread_partitions
from marketstate.worker.engine.invented import by_published
from marketstate.worker.engine.status import MOST_COUNTED_PERIODICALLY, Status, read_status
from marketstate.worker.errors import WorkerError
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client


class Found(NamedTuple):
    """What one partition has; without partitions, the group."""

    status: Status
    dead_letters: int
    """In the stream of dead letters, which is trimmed."""
    synthetic: bool
    """States of synthetic prices are published to its keys, by these workers or by others."""
    redis_version: str
    records: list[tuple[str, MarketStateRecord]]
    """The latest state of each symbol, if they were asked for."""
    longer: Mapping[str, list[tuple[str, MarketStateRecord]]] = {}
    """The same of each longer interval."""


class Reading(NamedTuple):
    settings: Settings
    read_s: float
    """Seconds since 1970, by our own clock: Redis may be away."""
    answers: list[Answer[Found]]
    failure: WorkerError | None
    """Why some partitions, or all, could not be read."""

    @property
    def of_status(self) -> list[Answer[Status]]:
        return [
            Answer(one.settings, one.found.status if one.found else None, one.trouble)
            for one in self.answers
        ]


def read(
    every: AllPartitions,
    settings: Settings,
    *,
    per_symbol: bool,
    most_counted: int = MOST_COUNTED_PERIODICALLY,
) -> Reading:
    """`every` may be kept from one reading to the next. Whatever cannot be read is in `failure`."""
    read_s = time.time()
    try:
        answers = every.ask(
            lambda client, part: _found(
                client, part, per_symbol=per_symbol, most_counted=most_counted
            )
        )
    except WorkerError as error:
        nothing = [Answer[Found](part, None, str(error)) for part in settings.each_partition()]
        return Reading(settings, read_s, nothing, error)
    return Reading(settings, read_s, answers, unread_partitions(answers))


def _found(client: Client, settings: Settings, *, per_symbol: bool, most_counted: int) -> Found:
    status = read_status(client, settings, most_counted)
    server = client.info("server")
    return Found(
        status,
        _length(client, settings.keys.dead_stream),
        settings.source == "synthetic"
        or any(found.is_recent for found in by_published(client, settings)),
        str(server["redis_version"]),
        _records(client, settings, status) if per_symbol else [],
        _of_longer(client, settings, status) if per_symbol else {},
    )


def _length(client: Client, stream: str) -> int:
    return int(client.xinfo_stream(stream)["length"]) if client.exists(stream) else 0


def _records(
    client: Client, settings: Settings, status: Status
) -> list[tuple[str, MarketStateRecord]]:
    symbols = sorted(one.symbol for one in status.symbols if one.last_emitted_ms)
    return [*latest_records(client, settings, symbols)]


def _of_longer(
    client: Client, settings: Settings, status: Status
) -> dict[str, list[tuple[str, MarketStateRecord]]]:
    """Of all symbols: one whose window of candles has started over may have states of these."""
    symbols = sorted(one.symbol for one in status.symbols)
    return {
        each.candle_interval: [*latest_records(client, each, symbols)] for each in settings.longer
    }
