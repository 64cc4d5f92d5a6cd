"""Reads streams from where it left off, whatever happens to the connection, and writes a recording.

The streams of several partitions are read in turn, and merged by the ids of their entries.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import redis

from marketstate.schemas.entry_id import parse_entry_id
from marketstate.schemas.recording import RecordedEntry
from marketstate.worker.files.recording_writer import RecordingWriter
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection, raw_entries
from marketstate.worker.store.connection import Client
from marketstate.worker.store.outage import Outage
from marketstate.worker.store.refusal import is_transient

ENTRIES_AT_ONCE: Final = 500
BLOCK_S: Final = 5.0
# Streams on several nodes cannot be waited for together.
POLL_S: Final = 0.2


class Part:
    """One stream to record.

    Remembers the last recorded entry. Every read starts with that entry again: as long as it
    still exists, nothing after it can have been trimmed.
    """

    def __init__(self, settings: Settings, stream: str, partition: int | None) -> None:
        self.settings = settings
        self.stream = stream
        self.partition = partition
        self.last_id = ""

    def continue_after(self, last: RecordedEntry | None) -> None:
        self.last_id = last.id if last else ""

    def entries(self, client: Client, first: str, last: str) -> Iterator[RecordedEntry]:
        """Those that there are now, behind the last recorded one."""
        since = self.last_id
        while True:
            count = ENTRIES_AT_ONCE + 1
            found = raw_entries.read(client, self.stream, since or first, last, count)
            # A busy stream never ends: the others must have their turn.
            is_all = len(found) < count
            if since:
                if found and found[0].id == since:
                    del found[0]
                elif found:
                    log.warning(
                        "entries of %s between %s and %s may have been trimmed before they were "
                        "recorded",
                        self.stream,
                        since,
                        found[0].id,
                    )
            if not found:
                return
            since = found[-1].id
            yield from (entry._replace(partition=self.partition) for entry in found)
            if is_all:
                return


class Recorder:
    def __init__(
        self, settings: Settings, parts: Sequence[Part], writer: RecordingWriter, stop: Stop
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._of_partition = {part.partition: part for part in parts}
        self._writer = writer
        self._stop = stop
        self.count = 0

    def record(self, first: str, last: str, *, follow: bool) -> None:
        """Raises WorkerError if Redis or the file cannot be used."""
        try:
            clients = self._open()
            outage = Outage(self._settings, log.warning)
            while not self._stop.requested:
                try:
                    if self._record_some(clients, first, last):
                        continue
                    if not follow:
                        return
                    self._writer.flush()
                    self._wait(clients)
                except redis.RedisError as error:
                    if self._stop.requested or not is_transient(error):
                        raise
                    outage.note(error)
                    clients = connection.retry_transient(self._open, self._stop, outage.note)
                    outage.end()
        except redis.RedisError as error:
            if not self._stop.requested:
                raise connection.unusable(error, self._settings) from error

    def summary(self, stream: str) -> str:
        """`stream` is the name of all that were recorded."""
        last_ids = [part.last_id for part in self._parts if part.last_id]
        upto = f"; the last one is {max(last_ids, key=parse_entry_id)}" if last_ids else ""
        return f"recorded {self.count:,} entries of {stream}{upto}"

    def _open(self) -> list[Client]:
        return [raw_entries.open_client(part.settings, block_s=BLOCK_S) for part in self._parts]

    def _record_some(self, clients: Sequence[Client], first: str, last: str) -> bool:
        """All that there is now. False if there is nothing more for now."""
        before = self.count
        each = zip(self._parts, clients, strict=True)
        merged = heapq.merge(
            *(part.entries(client, first, last) for part, client in each),
            key=lambda entry: entry.order,
        )
        while not self._stop.requested and (some := list(islice(merged, ENTRIES_AT_ONCE))):
            self._writer.add(some)
            for entry in some:
                self._of_partition[entry.partition].continue_after(entry)
            self.count += len(some)
        return self.count > before

    def _wait(self, clients: Sequence[Client]) -> None:
        if len(clients) > 1:
            self._stop.sleep(POLL_S)
            return
        after = self._parts[0].last_id or "$"
        block_ms = int(BLOCK_S * 1_000)
        stream = self._parts[0].stream
        self._stop.interrupts(lambda: clients[0].xread({stream: after}, 1, block_ms))
