"""Stream entries as Redis sends them, with every field in order.

redis-py turns the fields into a dict, which would drop repeated names.
"""

from typing import Any

from marketstate.schemas.recording import RecordedEntry
from marketstate.worker.settings import Settings
from marketstate.worker.store import connection
from marketstate.worker.store.connection import Client


def open_client(settings: Settings, *, block_s: float) -> Client:
    """A client for `read` only. Raises redis.ConnectionError immediately if nothing answers."""
    client = connection.open_client(settings, block_s=block_s)
    client.set_response_callback("XRANGE", _as_sent)
    return client


def read(client: Client, stream: str, first: str, last: str, count: int) -> list[RecordedEntry]:
    """`first` and `last` are those of XRANGE."""
    reply: Any = client.xrange(stream, first, last, count)
    return [RecordedEntry(entry_id.decode(), fields) for entry_id, fields in reply]


def _as_sent(reply: Any, **_options: Any) -> Any:
    return reply
