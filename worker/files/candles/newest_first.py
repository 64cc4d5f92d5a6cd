"""Rows that come newest first, turned round on disk: in memory they may have no room."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from marketstate.worker.files.candles.table import Row

ROWS_AT_ONCE: Final = 1_000

_DECODER: Final = msgspec.msgpack.Decoder(list[Row])


def oldest_first(rows: Iterable[Row]) -> Iterator[Row]:
    """All of them, from the last to the first."""
    rows = iter(rows)
    lengths = []
    with tempfile.TemporaryFile() as file:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            lengths.append(file.write(msgspec.msgpack.encode(some)))
        end = sum(lengths)
        for length in reversed(lengths):
            end -= length
            file.seek(end)
            yield from reversed(_DECODER.decode(file.read(length)))
