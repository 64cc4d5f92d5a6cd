"""Entries of a stream as Redis sends them, every field in its order.

redis-py makes a dict of the fields, in which a name that comes twice comes once.
"""

from typing import Any

from schemas.recording import RecordedEntry
from worker.settings import Settings
from worker.store import connection
from worker.store.connection import Client


def open_client(settings: Settings, *, block_s: float) -> Client:
    """Only for `read`. Raises redis.ConnectionError at once where nobody answers."""
    client = connection.open_client(settings, block_s=block_s)
    client.set_response_callback("XRANGE", _as_sent)
    return client


def read(client: Client, stream: str, first: str, last: str, count: int) -> list[RecordedEntry]:
    """`first` and `last` as XRANGE takes them."""
    reply: Any = client.xrange(stream, first, last, count)
    return [RecordedEntry(entry_id.decode(), fields) for entry_id, fields in reply]


def _as_sent(reply: Any, **_options: Any) -> Any:
    return reply
