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
brings what a partition may lack. It lacks nothing from before the bridge began for these workers,
which is noted beside the source.

A partition whose node is away holds up all of them. So what is acknowledged is always a beginning
of the source. With holes in it, nobody could tell what a partition lacks that comes back
with older data, unless each of these entries were remembered; and the source keeps what waits,
where everybody sees it.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from marketstate.schemas.entry_id import GREATEST, parse_entry_id
from marketstate.schemas.partitions import tag
from marketstate.worker.commands.gather.bridged_partition import BridgedPartition
from marketstate.worker.commands.gather.reading import BLOCK_S, ENTRIES_AT_ONCE, GroupReader, Read
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.commands.gather.taken import GATHERED, LOST, TRIMMED
from marketstate.worker.commands.refed import MAX_STRINGS, decoded, partition_for, when_written
from marketstate.worker.errors import RolledBack
from marketstate.worker.keys import BridgeKeys
from marketstate.worker.log import log, repeats
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import raw_entries
from marketstate.worker.store.scripts import Scripts

# Partitions without entries note their position as seldom.
NOTE_ALL_EVERY_S: Final = 10.0
_BEGINNING: Final = "0-0"


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
        self._sources = sources
        self._counts = counts
        self._keys = BridgeKeys(sources.group, self._source)
        of_source = source_settings(settings, self._source)
        self._client = raw_entries.open_client(of_source, block_s=BLOCK_S)
        self._scripts = Scripts(self._client)
        # Other workers, or another number, have finished other entries.
        self._field = f"{settings.group}:{settings.partitions}:{self._source}"
        self._partitions = [
            BridgedPartition(part, self._keys, self._field, max_length, max_backlog)
            for part in settings.each_partition()
        ]
        # Workers make dead letters of what is brought to another partition.
        self._partitions[0].refuse_another_number()
        self._reader = GroupReader(self._client, self._scripts, self._keys, sources, counts)
        self._note_all_s = -math.inf
        self._is_begun = False
        """Whether we know how far each partition has been brought."""
        self._begun = self._done = ""
        """All up to these entries of the source had been acknowledged: when the first bridge began
        for these workers, and when we did.
        """
        self._again = 0
        """How many entries we have brought that had been acknowledged."""

    def work(self, stop: Stop) -> None:
        """One batch, or a wait for more."""
        self._sources.look(self._client)
        repeats.tell()
        try:
            self._work(stop)
        except RolledBack as error:
            log.warning("%s; beginning again with what may be missing there", error)
            self._is_begun = False
            self._sources.new_session()

    def _work(self, stop: Stop) -> None:
        if not self._is_begun and self._sources.streams:
            self._begin()
        behind = [each.destination for each in self._partitions if not each.destination.has_room()]
        if behind:
            stop.sleep(max(destination.pause_s for destination in behind))
            return
        if self._is_begun and self._bring_again():
            return
        entries = self._reader.read()
        if entries:
            self._bring(entries)
            self._acknowledge(entries)
        else:
            self._note_the_end()
            self._reader.wait(stop)

    def _note_the_end(self) -> None:
        """All that was read is brought: a partition for which nothing came would seem to lack it,
        once the source is trimmed.
        """
        read = self._sources.streams.get(self._source)
        if read is None or read.pending_from is not None or not self._is_time_to_note():
            return
        end = read.last.decode()
        for each in self._partitions:
            if _is_before(each.position or self._begun, end):
                each.append([], end)

    def _is_time_to_note(self) -> bool:
        """True at most every NOTE_ALL_EVERY_S."""
        now_s = time.monotonic()
        is_time = now_s >= self._note_all_s
        if is_time:
            self._note_all_s = now_s + NOTE_ALL_EVERY_S
        return is_time

    def _bring(self, entries: Sequence[Read]) -> None:
        """Append them where they belong."""
        position = entries[-1].id.decode()
        fields = self._by_partition(entries)
        notes_all = self._is_time_to_note()
        for i, partition in enumerate(self._partitions):
            if i in fields or notes_all:
                partition.append(fields.get(i, []), position)

    def _by_partition(self, entries: Iterable[Read]) -> dict[int, list[list[bytes]]]:
        found: dict[int, list[list[bytes]]] = defaultdict(list)
        for entry in entries:
            if entry.parts is not None:
                fields = entry.fields or {}
                candle = decoded(fields)
                more = when_written(fields, candle, parse_entry_id(entry.id)[0])
                # So many fields have no meaning; a dead letter has the first of them.
                copied = [*entry.parts[: MAX_STRINGS - len(more)], *more]
                found[partition_for(candle, len(self._partitions))].append(copied)
        return found

    def _acknowledge(self, entries: Sequence[Read]) -> None:
        lost = [entry for entry in entries if entry.parts is None]
        self._finish(entries, {GATHERED: len(entries) - len(lost), LOST: len(lost)})
        for entry in lost:
            log.warning(
                "entry %s of %s was trimmed before it was finished",
                entry.id.decode(),
                self._source,
                extra={"kind": LOST},
            )

    def _finish(self, entries: Sequence[Read], ends: Mapping[str, int]) -> None:
        counts = +Counter(ends)
        reply: Any = self._scripts.bridge_done(
            keys=[self._source, self._keys.counters, self._keys.owner],
            args=[
                *(self._keys.group, self._reader.token),
                msgspec.msgpack.encode([entry.id.decode() for entry in entries]),
                *(part for name, n in counts.items() for part in (name, n)),
            ],
        )
        self._reader.check_owner(reply)
        self._counts.update(counts)

    def _begin(self) -> None:
        """See how far each partition has been brought."""
        self._done = self._acknowledged()
        begun: Any = self._client.hget(self._keys.begun, self._field)
        if begun is None:
            begun = self._done.encode()
            self._client.hset(self._keys.begun, self._field, begun)
        self._begun = begun.decode()
        for each in self._partitions:
            each.look()
        self._is_begun = True

    def _bring_again(self) -> bool:
        """Some of what a partition may lack although it was acknowledged; False if nothing is left
        of that.
        """
        since = {i: each.position or self._begun for i, each in enumerate(self._partitions)}
        lacking = {i: after for i, after in since.items() if _is_before(after, self._done)}
        if not lacking:
            self._tell_of_again()
            return False
        first = min(lacking.values(), key=parse_entry_id)
        entries = self._read_after(first)
        self._look_for_trimmed(first, lacking)
        for i, after in lacking.items():
            own = [each for each in entries if _is_before(after, each.id)]
            fields = self._by_partition(own).get(i, [])
            if own or not entries:
                position = own[-1].id.decode() if own else self._done
                self._partitions[i].append(fields, position)
            self._again += len(fields)
        return True

    def _tell_of_again(self) -> None:
        if self._again:
            log.warning(
                "brought %s entries of %s again, to partitions that may have lacked them",
                f"{self._again:,}",
                self._source,
            )
        self._again = 0

    def _look_for_trimmed(self, first: str, lacking: Mapping[int, str]) -> None:
        """Whether the source still has all that follows `first`, which some of `lacking` need."""
        before = self._done
        for oldest in raw_entries.read(self._client, self._source, "-", "+", 1):
            info: Any = self._client.xinfo_stream(self._source)
            # Redis 6.2 does not say how many there ever were.
            nothing_is_gone = info.get("entries-added") == info["length"]
            if nothing_is_gone or not _is_before(first, oldest.id):
                return
            before = min(before, oldest.id, key=parse_entry_id)
        tags = [tag(i) for i, after in lacking.items() if _is_before(after, before)]
        self._finish([], {TRIMMED: len(tags)})
        log.warning(
            "entries of %s between %s and %s may have been trimmed before they could be brought "
            "again to %s: the symbols there may have gaps",
            self._source,
            first,
            before,
            ", ".join(tags),
            extra={"kind": TRIMMED},
        )

    def _acknowledged(self) -> str:
        """All up to this entry is acknowledged."""
        pending: Any = self._client.xpending(self._source, self._keys.group)
        if pending["min"] is not None:
            return _before(pending["min"])
        return self._sources.streams[self._source].last.decode()

    def _read_after(self, after: str) -> list[Read]:
        """What has been acknowledged, as much as is brought at once."""
        found = raw_entries.read(
            self._client, self._source, f"({after}", self._done, ENTRIES_AT_ONCE
        )
        return [Read(self._source, entry.id.encode(), entry.fields) for entry in found]


def source_settings(settings: Settings, source: str) -> Settings:
    """To connect to where the source is: it is in no partition."""
    return msgspec.structs.replace(settings, partitions=None, partition=None, input_stream=source)


def _is_before(one: str | bytes, other: str | bytes) -> bool:
    return parse_entry_id(one) < parse_entry_id(other)


def _before(entry_id: bytes) -> str:
    ms, number = parse_entry_id(entry_id)
    if number:
        return f"{ms}-{number - 1}"
    return f"{ms - 1}-{GREATEST}" if ms else _BEGINNING
