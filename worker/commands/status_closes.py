"""For `marketstate status`: how many closes a symbol without a state has, and how many it needs."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.client import Pipeline

from marketstate.core.theta import minimum_length
from marketstate.worker.engine.status import Status
from marketstate.worker.keys import Keys
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.snapshot import read_together

# Some 4 KB each.
_WINDOWS_AT_ONCE: Final = 500


def with_closes(client: Client, settings: Settings, status: Status, most: float) -> Status:
    """Of the `most` first of these symbols."""
    waiting = [one.symbol for one in status.symbols if one.last_emitted_ms is None]
    waiting = waiting[: int(min(most, len(waiting)))]
    found: dict[str, int | None] = {}
    for start in range(0, len(waiting), _WINDOWS_AT_ONCE):
        found |= _closes_of(client, settings.keys, waiting[start : start + _WINDOWS_AT_ONCE])
    symbols = [msgspec.structs.replace(one, closes=found.get(one.symbol)) for one in status.symbols]
    needed = minimum_length(settings.theta)
    return msgspec.structs.replace(status, symbols=symbols, closes_needed=needed)


def _closes_of(client: Client, keys: Keys, symbols: Sequence[str]) -> dict[str, int | None]:
    def ask(reads: Pipeline) -> None:
        # Not LLEN: the user of a worker has no right to it.
        for symbol in symbols:
            reads.lrange(keys.window(symbol), 0, -1)

    windows: list[Any] = read_together(client, ask, raise_on_error=False)
    return {
        symbol: len(window) if isinstance(window, list) else None
        for symbol, window in zip(symbols, windows, strict=True)
    }
