"""Synthetic prices on keys that others read: what every command says first.

Their states look like real ones. Only the settings of the workers and the `source` of a record tell
them apart.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import redis

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.schemas.interval import state_step_ms
from marketstate.worker.engine.key_health import printable
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client
from marketstate.worker.store.newest import StreamEntry, some_newest

TITLE: Final = "SYNTHETIC PRICES"
_SYMBOLS_SHOWN: Final = 5
# As for verify: one state may be late.
_RECENT_IN_STEPS: Final = 2


class Invented(NamedTuple):
    text: str
    is_recent: bool = False
    """States of a source that is not ours were published within the time of two states."""

    def __str__(self) -> str:
        return f"{TITLE}: {self.text}"


class _Record(msgspec.Struct):
    symbol: str
    source: str


def invented(client: Client, settings: Settings) -> Iterator[Invented]:
    """Nothing if all is well. What cannot be read is not judged: others report that."""
    yield from by_settings(settings)
    yield from by_published(client, settings)


def by_settings(settings: Settings) -> Iterator[Invented]:
    if settings.source == "synthetic":
        yield Invented(
            f"{PREFIX}SOURCE is synthetic: what these workers publish to "
            f"{settings.keys.output_prefix}* and {settings.keys.output_stream} is invented"
        )


def by_published(client: Client, settings: Settings) -> Iterator[Invented]:
    """What others publish to the same keys, by the last states there."""
    try:
        time: Any = client.time()
        entries = some_newest(client, settings.keys.output_stream)
    except redis.RedisError:
        return
    now_ms = clock_ms(time)
    other = "candles" if settings.source == "synthetic" else "synthetic"
    found = [
        (entry_time_ms(entry_id), record.symbol)
        for entry_id, record in map(_read, entries)
        if record is not None and record.source == other
    ]
    if not found:
        return
    step_ms = state_step_ms(settings.candle_interval_ms, settings.publish_interval_ms)
    age_ms = now_ms - found[-1][0]
    is_recent = age_ms <= _RECENT_IN_STEPS * step_ms
    symbols = sorted({symbol for _, symbol in found})
    shown = ", ".join(printable(symbol.encode()) for symbol in symbols[:_SYMBOLS_SHOWN])
    if len(symbols) > _SYMBOLS_SHOWN:
        shown += f" and {len(symbols) - _SYMBOLS_SHOWN} more"
    what = "invented" if other == "synthetic" else "of real candles"
    text = (
        f"{len(found)} of the last {len(entries)} states in {settings.keys.output_stream} are "
        f"{what} (source {other}), the newest {max(0, age_ms) / 1_000:,.0f} s old, of {shown}"
    )
    if is_recent:
        text += f": workers with {PREFIX}SOURCE={other} publish to the same keys as this group"
    yield Invented(text, is_recent)


def _read(entry: StreamEntry) -> tuple[bytes, _Record | None]:
    entry_id, fields = entry
    try:
        return entry_id, msgspec.json.decode(fields.get(b"record", b""), type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return entry_id, None
