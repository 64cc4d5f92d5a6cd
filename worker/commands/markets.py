"""What is shown of each market: its latest state, and how long its regime has held."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES
from marketstate.schemas.market_state import MarketStateRecord, UnknownRecord, decode_market_state
from marketstate.schemas.times import EARLIEST_MS, LATEST_MS
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.newest import StreamEntry

# As many as `plot` shows, of a few markets; of many, they would take too much memory.
MOST_RECENT: Final = 1_440
STATES_IN_MEMORY: Final = 100_000
_PAGE: Final = 1_000


class Market(NamedTuple):
    record: MarketStateRecord
    since_ms: int
    """Close time at which the current regime began."""
    since_known: bool
    """False if the regime already held at the first known state, so that it has held longer."""

    recent: tuple[MarketStateRecord, ...] = ()
    """The last states, oldest first; how many, says `kept_of_each`."""

    @property
    def held_ms(self) -> int:
        return self.record.close_time_ms - self.since_ms


def kept_of_each(markets: int, in_memory: int = STATES_IN_MEMORY) -> int:
    """How many of its last states are kept of each of so many markets; `in_memory` of all."""
    return max(2, min(MOST_RECENT, in_memory // max(1, markets)))


def moved_on(before: Market | None, record: MarketStateRecord, kept: int = MOST_RECENT) -> Market:
    """The market after one more state; `kept` of them, from 2 on, stay in `recent`."""
    if before is None:
        return Market(record, record.close_time_ms, since_known=False, recent=(record,))
    recent = (*before.recent[1 - kept :], record)
    if before.record.regime == record.regime:
        return before._replace(record=record, recent=recent)
    return Market(record, record.close_time_ms, since_known=True, recent=recent)


def entries_from(client: Client, stream: str, first_id: bytes) -> Iterator[StreamEntry]:
    """The entries from this id on, oldest first."""
    while True:
        page: Any = client.xrange(stream, min=first_id, count=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        first_id = b"(" + page[-1][0]


def readable(entries: Iterable[StreamEntry]) -> Iterator[tuple[bytes, MarketStateRecord | None]]:
    """Each entry's id with its record, or with None if it is not a record of this version.

    The stream may contain entries from other programs; they must not hide the rest.
    """
    for entry_id, fields in entries:
        yield entry_id, readable_record(fields)


def readable_record(fields: Mapping[bytes, bytes]) -> MarketStateRecord | None:
    """The record in the field `record`, if it is one of this version."""
    if len(fields.get(b"record", b"")) > MAX_DOCUMENT_BYTES:
        return None
    try:
        record = decode_market_state(fields)
    except UnknownRecord:
        return None
    probs = record.regime_probs
    numbers = (
        *(record.close, record.sigma, record.mu, record.ts),
        *(probs.trend, probs.mr, probs.chop),
    )
    is_time = EARLIEST_MS <= record.close_time_ms < LATEST_MS
    return record if is_time and all(map(math.isfinite, numbers)) else None


def latest_records(
    client: Client, settings: Settings, symbols: Sequence[str]
) -> Iterator[tuple[str, MarketStateRecord]]:
    """Without those that have expired or cannot be read: `verify` judges these."""
    for start in range(0, len(symbols), _PAGE):
        some = symbols[start : start + _PAGE]
        with client.pipeline(transaction=False) as reads:
            for symbol in some:
                reads.get(settings.keys.record(symbol))
            replies = reads.execute(raise_on_error=False)
        for symbol, reply in zip(some, replies, strict=True):
            record = readable_record({b"record": reply}) if isinstance(reply, bytes) else None
            if record is not None:
                yield symbol, record


def shown(name: str) -> str:
    """A symbol that is safe to print: characters that could move the cursor become `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)
