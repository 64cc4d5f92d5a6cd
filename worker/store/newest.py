"""The newest entries of a stream, read in pages: Redis limits their number, not their size."""

import math
from typing import Any, Final

from marketstate.worker.store.connection import Client

_PAGE: Final = 1_000
LOOKED_AT: Final = 100
_FEW: Final = 10
# Ten entries may be that large, or more: then no further ones are read.
_MOST_BYTES: Final = 4 * 1024 * 1024

StreamEntry = tuple[bytes, dict[bytes, bytes]]


def newest_entries(
    client: Client, stream: str, most: int, *, page: int = _PAGE, most_bytes: float = math.inf
) -> list[StreamEntry]:
    """The last entries of a stream, oldest first: at most `most`, and no page more once they have
    `most_bytes`.
    """
    found: list[StreamEntry] = []
    before, read_bytes = "+", 0
    while len(found) < most and read_bytes < most_bytes:
        count = min(page, most - len(found))
        entries: Any = client.xrevrange(stream, max=before, count=count)
        found += entries
        if len(entries) < count:
            break
        read_bytes += sum(_size(fields) for _, fields in entries)
        before = "(" + entries[-1][0].decode()
    return found[::-1]


def some_newest(client: Client, stream: str) -> list[StreamEntry]:
    """The last LOOKED_AT entries, oldest first; fewer if they are large, since anyone may have
    written them.
    """
    return newest_entries(client, stream, LOOKED_AT, page=_FEW, most_bytes=_MOST_BYTES)


def _size(fields: dict[bytes, bytes]) -> int:
    return sum(len(name) + len(value) for name, value in fields.items())
