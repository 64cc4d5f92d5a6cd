"""What a replay feeds: recordings or candle files, as one sequence of entries by time."""

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from marketstate.schemas.candle import encode_envelope
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.recording import RecordedEntry
from marketstate.worker.commands.refed import MAX_STRINGS, decoded, partition_for, when_written
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.bad_lines import OnBad
from marketstate.worker.files.candles.names import each_file, is_candle_file
from marketstate.worker.files.candles.said import NOTHING, Said, refuse_of_recordings
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.merging import merged
from marketstate.worker.files.recordings import partitions_of, read_recording
from marketstate.worker.settings import PREFIX, Settings

_LENGTH: Final = struct.Struct("<I")


class Item(NamedTuple):
    """One entry to feed."""

    time_ms: int
    """The entry's own time or the candle's close time, for keeping the original gaps."""
    packed: bytes
    """The format is that of worker/lua/feed.lua."""
    partition: int = 0
    """Where it is fed; 0 without partitions, and for an entry that has no symbol."""


class Recorded(NamedTuple):
    """One entry of a recording."""

    where: str
    """File and line."""
    entry: RecordedEntry
    fields: dict[bytes, bytes]
    partition: int | None
    """Where it was, if as many partitions were recorded as there are; else its symbol tells."""


# Fields of an output entry, also of one that another program wrote; no candle has both.
OF_A_STATE: Final = frozenset((b"regime", b"sigma"))


class Sources:
    """The files of one replay; they can be read more than once."""

    def __init__(
        self, paths: Sequence[Path], settings: Settings, *, keep_ids: bool, said: Said = NOTHING
    ) -> None:
        """Raises ConfigurationError for files that cannot be combined."""
        every = each_file(paths)
        candles = [path for path in every if is_candle_file(path)]
        if candles and len(candles) < len(every):
            raise ConfigurationError("give either candle files (.csv, .csv.gz, .zip) or recordings")
        if candles and keep_ids:
            raise ConfigurationError("candle files have no entry ids; --keep-ids needs recordings")
        if not candles:
            refuse_of_recordings(said)
        self.candle_files = CandleFiles(candles, said) if candles else None
        """None for recordings."""
        if self.candle_files:
            found = self.candle_files.interval
            if interval_ms(found) != settings.candle_interval_ms:
                raise ConfigurationError(
                    f"the files have {found} candles, but {PREFIX}CANDLE_INTERVAL is "
                    f"{settings.candle_interval}, so the workers would ignore them; set it to "
                    f"{found}"
                )
        self._paths = every
        self._keep_ids = keep_ids
        self._partitions = settings.partitions
        if keep_ids:
            self._refuse_ids_of_other_partitions()

    def read(self, findings: Findings) -> Iterator[Item]:
        if self.candle_files:
            return _candles(self.candle_files, findings, self._partitions)
        return self._entries(findings.bad)

    def _refuse_ids_of_other_partitions(self) -> None:
        for path in self._paths:
            found = partitions_of(path)
            if found not in (None, self._partitions):
                raise ConfigurationError(
                    f"{path} was recorded from {found} partitions, whose entries may have the same "
                    f"ids; --keep-ids needs as many here: --partitions {found}"
                )

    def recorded(self, on_bad: OnBad) -> Iterator[Recorded]:
        """The entries of the recordings by time, as they were recorded."""
        files = [partial(_with_places, path, on_bad) for path in self._paths]
        unnoted = Findings(skip_bad=True).bad
        looks = [partial(_with_places, path, unnoted) for path in self._paths]
        for where, entry, recorded in merged(files, looks, key=lambda each: each[1].order):
            fields = dict(zip(entry.fields[::2], entry.fields[1::2], strict=True))
            if fields.keys() >= OF_A_STATE:
                raise ConfigurationError(
                    f"{where} is a published state, not a candle: name recordings of the input "
                    "stream; to compare states, use marketstate verify --against"
                )
            if len(entry.fields) >= MAX_STRINGS:
                on_bad(where, f"{len(entry.fields) // 2:,} fields; {MAX_STRINGS // 2:,} at most")
                continue
            partition = entry.partition if recorded == self._partitions else None
            yield Recorded(where, entry, fields, partition)

    def _entries(self, on_bad: OnBad) -> Iterator[Item]:
        last_of: dict[int, tuple[int, int]] = {}
        for where, entry, fields, recorded in self.recorded(on_bad):
            candle = decoded(fields)
            partition = partition_for(candle, self._partitions) if recorded is None else recorded
            if self._keep_ids and entry.order <= last_of.get(partition, (-1, -1)):
                on_bad(where, f"the entry {entry.id} is in two files; an id can only be kept once")
                continue
            last_of[partition] = entry.order
            if self._keep_ids:
                strings = [entry.id.encode(), *entry.fields]
            else:
                strings = [b"*", *entry.fields, *when_written(fields, candle, entry.order[0])]
            yield Item(entry.order[0], packed(strings), partition)


def _candles(files: CandleFiles, findings: Findings, partitions: int | None) -> Iterator[Item]:
    for read in files.read(findings):
        fields = encode_envelope(read.candle, source="replay")
        strings = [
            part.encode() if isinstance(part, str) else part
            for pair in fields.items()
            for part in pair
        ]
        partition = partition_for(read.candle, partitions)
        yield Item(read.candle.close_time, packed([b"*", *strings]), partition)


def packed(strings: Sequence[bytes]) -> bytes:
    parts = [_LENGTH.pack(len(strings))]
    for string in strings:
        parts += (_LENGTH.pack(len(string)), string)
    return b"".join(parts)


def _with_places(path: Path, on_bad: OnBad) -> Iterator[tuple[str, RecordedEntry, int | None]]:
    """Each with its place, and the number of partitions that were recorded."""
    recorded, name = partitions_of(path), str(path)
    for entry, line in read_recording(path, on_bad):
        yield f"{name}, line {line}", entry, recorded
