"""Entries that were taken from the gathered streams, and what a batch of them comes to."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from marketstate.schemas.candle import Candle, CandleRejected, encode_envelope
from marketstate.schemas.entry_id import entry_time_ms
from marketstate.schemas.times import EARLIEST_MS, LATEST_MS
from marketstate.worker.engine.changes import Entry
from marketstate.worker.engine.plan import dead_fields

# How an entry ends; each ends in one of these ways.
GATHERED: Final = "gathered"
UNCLOSED: Final = "unclosed"
SUPERSEDED: Final = "superseded"
INCOMPLETE: Final = "incomplete"
LATE: Final = "late"
OTHER_EXCHANGE: Final = "other_exchange"
DEAD: Final = "dead"
LOST: Final = "lost"
ENDS: Final = (GATHERED, UNCLOSED, SUPERSEDED, INCOMPLETE, LATE, OTHER_EXCHANGE, DEAD, LOST)

TRIMMED: Final = "trimmed"
"""No end of an entry: how often entries may have been trimmed before they were read, or before they
could be brought again to a partition that lacked them.
"""


class Taken(NamedTuple):
    """An entry of a gathered stream."""

    stream: str
    id: bytes
    fields: dict[bytes, bytes] | None
    """None if it was trimmed after it had been taken."""

    @property
    def written_ms(self) -> int | None:
        """When it was written; None if its id was set by hand and holds no time."""
        ms = entry_time_ms(self.id)
        return ms if EARLIEST_MS <= ms < LATEST_MS else None

    def __str__(self) -> str:
        return f"entry {self.id.decode()} of {self.stream}"


@dataclass
class Batch:
    """What is to be written. Nothing has happened before it is."""

    candles: list[list[bytes]] = field(default_factory=list)
    """The fields of each entry for the target: name, value, name, value, ..."""
    dead: list[list[bytes]] = field(default_factory=list)
    finished: dict[str, list[bytes]] = field(default_factory=dict)
    """The ids to acknowledge, by stream."""
    counts: Counter[str] = field(default_factory=Counter)
    exchanges: dict[str, str] = field(default_factory=dict)
    """By symbol, those that were met for the first time."""
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """The end that each belongs to, and its text."""

    def end(self, taken: Taken, how: str, warning: str | None = None) -> None:
        """`warning` is for the log, once the batch is written."""
        self.finished.setdefault(taken.stream, []).append(taken.id)
        self.counts[how] += 1
        if warning:
            self.warnings.append((how, warning))

    def append(self, taken: Taken, candle: Candle) -> None:
        fields = encode_envelope(candle, source="gather")
        fields |= {"source_stream": taken.stream, "source_id": taken.id}
        self.candles.append([_bytes(part) for pair in fields.items() for part in pair])
        self.end(taken, GATHERED)

    def reject(self, taken: Taken, why: str) -> None:
        entry = Entry(0, taken.id, taken.fields or {})
        self.dead.append(list(dead_fields(entry, why, source_stream=taken.stream)))
        self.end(taken, DEAD, f"{taken} cannot be read: {why}; it is in the dead-letter stream")


def check_room(symbol: str, known: int, most: int) -> None:
    """The streams are untrusted, so what is remembered of symbols must be bounded."""
    if known >= most:
        raise CandleRejected(
            f"symbol {symbol!r} is new, and there are {known:,} already; raise "
            "MARKETSTATE_MAX_SYMBOLS if they are all right"
        )


def _bytes(part: str | bytes) -> bytes:
    return part.encode() if isinstance(part, str) else part
