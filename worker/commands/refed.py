"""Entries that are fed again under another id: to which partition, and when they were written."""

from collections.abc import Mapping
from typing import Final

from marketstate.schemas.candle import WRITTEN_MS, Candle, CandleRejected, decode_candle
from marketstate.schemas.partitions import partition_of

# Lua limits how many arguments it can pass to XADD.
MAX_STRINGS: Final = 7_000


def decoded(fields: Mapping[bytes, bytes]) -> Candle | None:
    """None for what the worker that reads it makes a dead letter."""
    try:
        return decode_candle(fields, entry_ms=0)
    except CandleRejected:
        return None


def partition_for(candle: Candle | None, partitions: int | None) -> int:
    """0 without partitions, and for an entry that has no symbol."""
    return partition_of(candle.symbol, partitions) if candle and partitions else 0


def when_written(
    fields: Mapping[bytes, bytes], candle: Candle | None, written_ms: int
) -> list[bytes]:
    """A field for an entry that was written before its candle closed. If the candle has no flag, it
    is an update, which its new id would hide.
    """
    name = WRITTEN_MS.encode()
    if candle and candle.close_time > written_ms and name not in fields:
        return [name, b"%d" % written_ms]
    return []
