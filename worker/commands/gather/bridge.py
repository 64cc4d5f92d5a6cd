"""Brings the entries of one stream to the partitions of their symbols: `gather --partitions`.

For an upstream that knows one stream only. Entries are copied as they are, so the workers judge
them as they would have judged the originals; one without a symbol goes to partition 0, where it
becomes a dead letter.

A batch is appended to each partition, in its order, and acknowledged only after that. Whatever
breaks off before is repeated, from the oldest entry that is not acknowledged on. So nothing is
skipped, and the first copies of a symbol's candles are in order. The close time tells the other
copies: the workers count them as duplicate or late, and publish nothing for them.

Only the bridge that was started last reads the group. One before it may still append the batch that
it has in hand. Its successor brings that batch too, since it was not acknowledged, and all before
it has been appended by then. So whichever of the two comes first, the first copies are in order.

Each partition notes how far it has been brought, together with the entries. If that is not what the
bridge knows, the partition has come back with older data, because its master died before its
replica had everything; or another bridge has appended something. Then it begins again, and first
brings what a partition may lack.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from marketstate.schemas.entry_id import parse_entry_id
from marketstate.worker.commands.gather.destination import Destination
from marketstate.worker.commands.gather.reading import BLOCK_S, ENTRIES_AT_ONCE, GroupReader, Read
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.commands.gather.taken import GATHERED, LOST
from marketstate.worker.commands.refed import MAX_STRINGS, decoded, partition_for, when_written
from marketstate.worker.engine.plan import binary
from marketstate.worker.errors import RolledBack, WrongKeyType
from marketstate.worker.keys import BridgeKeys
from marketstate.worker.log import log, repeats
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection, raw_entries
from marketstate.worker.store.connection import Client
from marketstate.worker.store.scripts import Scripts

# Partitions without entries note their position as seldom.
NOTE_ALL_EVERY_S: Final = 10.0
_BEGINNING: Final = "0-0"


class _Partition(NamedTuple):
    client: Client
    scripts: Scripts
    settings: Settings
    destination: Destination


class Bridge:
    """Lives as long as its connections, and keeps nothing from those before."""

    def __init__(
        self,
        settings: Settings,
        sources: Sources,
        counts: Counter[str],
        *,
        max_length: float,
        max_backlog: float,
    ) -> None:
        """`settings` are those of all partitions; each batch that is done is added to `counts`."""
        (self._source,) = sources.names
        # With another number, partitions have other symbols, and lack other entries.
        self._field = f"{settings.partitions}:{self._source}"
        self._sources = sources
        self._counts = counts
        self._max_length = "" if max_length == math.inf else str(int(max_length))
        self._keys = BridgeKeys(sources.group, self._source)
        of_source = source_settings(settings, self._source)
        self._client = raw_entries.open_client(of_source, block_s=BLOCK_S)
        self._scripts = Scripts(self._client)
        self._partitions = []
        for part in settings.each_partition():
            client = connection.open_client(part, block_s=0)
            destination = Destination(client, part.keys, max_length, max_backlog)
            self._partitions.append(_Partition(client, Scripts(client), part, destination))
        self._reader = GroupReader(self._client, self._scripts, self._keys, sources)
        self._note_all_s = -math.inf
        self._positions: dict[int, str] | None = None
        """By partition, empty if it has none; None before they are read."""

    def work(self, stop: Stop) -> None:
        """One batch, or a wait for more."""
        self._sources.look(self._client)
        repeats.tell()
        try:
            self._work(stop)
        except RolledBack as error:
            log.warning("%s; beginning again with what may be missing there", error)
            self._positions = None
            self._sources.new_session()

    def _work(self, stop: Stop) -> None:
        if self._positions is None and self._sources.streams:
            self._positions = self._read_positions()
            self._bring_again(self._positions)
        behind = [each.destination for each in self._partitions if not each.destination.has_room()]
        if behind:
            stop.sleep(max(destination.pause_s for destination in behind))
            return
        entries = self._reader.read()
        if entries:
            self._bring(entries)
            self._acknowledge(entries)
        else:
            self._reader.wait(stop)

    def _bring(self, entries: Sequence[Read]) -> None:
        """Append them where they belong."""
        position = entries[-1].id.decode()
        fields = self._by_partition(entries)
        now_s = time.monotonic()
        if now_s >= self._note_all_s:
            fields |= {i: [] for i in range(len(self._partitions)) if i not in fields}
            self._note_all_s = now_s + NOTE_ALL_EVERY_S
        for partition, some in sorted(fields.items()):
            self._append(partition, some, position)

    def _append(self, partition: int, entries: Sequence[list[bytes]], position: str) -> None:
        """Raises RolledBack if it is not where we left it."""
        _, scripts, settings, destination = self._partitions[partition]
        known = self._positions or {}
        reply: Any = scripts.bridge_write(
            keys=[settings.keys.input, self._keys.positions(partition)],
            args=[
                *(self._field, position, self._max_length),
                msgspec.msgpack.encode([binary(fields) for fields in entries]),
                known.get(partition, ""),
            ],
        )
        if reply[0] == b"elsewhere":
            raise RolledBack(
                f"{settings.keys.input} has {self._source} up to {reply[1].decode() or 'nothing'}, "
                f"not to {known.get(partition) or 'nothing'}"
            )
        if reply[0] == b"wrong type":
            key, kind = (part.decode(errors="replace") for part in reply[1:])
            raise WrongKeyType(f"the key {key} holds a {kind}; it cannot be written to")
        known[partition] = position
        destination.appended(len(entries))

    def _by_partition(self, entries: Iterable[Read]) -> dict[int, list[list[bytes]]]:
        found: dict[int, list[list[bytes]]] = defaultdict(list)
        for entry in entries:
            if entry.parts is not None:
                candle = decoded(entry.fields or {})
                written_ms = parse_entry_id(entry.id)[0]
                more = when_written(entry.fields or {}, candle, written_ms)
                # So many fields have no meaning; a dead letter has the first of them.
                copied = [*entry.parts[: MAX_STRINGS - len(more)], *more]
                found[partition_for(candle, len(self._partitions))].append(copied)
        return found

    def _acknowledge(self, entries: Sequence[Read]) -> None:
        lost = [entry for entry in entries if entry.parts is None]
        counts = +Counter({GATHERED: len(entries) - len(lost), LOST: len(lost)})
        self._scripts.bridge_done(
            keys=[self._source, self._keys.counters],
            args=[
                self._keys.group,
                msgspec.msgpack.encode([entry.id.decode() for entry in entries]),
                *(part for name, n in counts.items() for part in (name, n)),
            ],
        )
        self._counts.update(counts)
        for entry in lost:
            log.warning(
                "entry %s of %s was trimmed before it was finished",
                entry.id.decode(),
                self._source,
                extra={"kind": LOST},
            )

    def _bring_again(self, positions: Mapping[int, str]) -> None:
        """What a partition may lack although it was acknowledged."""
        done = self._done()
        if not any(positions.values()) or not self._client.exists(self._keys.counters):
            return  # nothing has been acknowledged, so nothing is lacking
        since = {i: position or _BEGINNING for i, position in positions.items()}
        lacking = {i: id_ for i, id_ in since.items() if parse_entry_id(id_) < parse_entry_id(done)}
        if not lacking:
            return
        first = min(lacking.values(), key=parse_entry_id)
        again = 0
        for entries in self._between(first, done):
            for partition, after in lacking.items():
                own = [each for each in entries if parse_entry_id(each.id) > parse_entry_id(after)]
                fields = self._by_partition(own).get(partition, [])
                if own:
                    self._append(partition, fields, own[-1].id.decode())
                again += len(fields)
        if again:
            log.warning(
                "brought %s entries of %s again, to partitions that may have lacked them",
                f"{again:,}",
                self._source,
            )

    def _done(self) -> str:
        """All up to this entry is acknowledged."""
        pending: Any = self._client.xpending(self._source, self._keys.group)
        if pending["min"] is not None:
            return _before(pending["min"])
        return self._sources.streams[self._source].last.decode()

    def _read_positions(self) -> dict[int, str]:
        found = {}
        for i, each in enumerate(self._partitions):
            position: Any = each.client.hget(self._keys.positions(i), self._field)
            found[i] = (position or b"").decode()
        return found

    def _between(self, after: str, last: str) -> Iterator[list[Read]]:
        while True:
            found = raw_entries.read(self._client, self._source, f"({after}", last, ENTRIES_AT_ONCE)
            if not found:
                return
            yield [Read(self._source, entry.id.encode(), entry.fields) for entry in found]
            after = found[-1].id


def source_settings(settings: Settings, source: str) -> Settings:
    """To connect to where the source is: it is in no partition."""
    return msgspec.structs.replace(settings, partitions=None, partition=None, input_stream=source)


def _before(entry_id: bytes) -> str:
    ms, number = parse_entry_id(entry_id)
    if number:
        return f"{ms}-{number - 1}"
    return f"{ms - 1}-{2**64 - 1}" if ms else _BEGINNING
