"""What a replay feeds: recordings or candle files, as one sequence of entries by time."""

import heapq
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from schemas.candle import encode_envelope
from schemas.interval import interval_ms
from worker.errors import ConfigurationError
from worker.files.bad_lines import OnBad
from worker.files.candles import SUFFIXES, each_file, interval_of, read_by_time
from worker.files.recordings import ReadEntry, read_recording
from worker.settings import PREFIX, Settings

# Lua limits how many arguments it can pass to XADD.
MAX_STRINGS: Final = 7_000
_LENGTH: Final = struct.Struct("<I")


class Item(NamedTuple):
    """One entry to feed."""

    time_ms: int
    """The entry's own time or the candle's close time, for keeping the original gaps."""
    packed: bytes
    """The format is that of worker/lua/feed.lua."""


# Fields of an output entry, also of one that another program wrote; no candle has both.
OF_A_STATE: Final = frozenset((b"regime", b"sigma"))


class Sources:
    """The files of one replay; they can be read more than once."""

    def __init__(self, paths: Sequence[Path], settings: Settings, *, keep_ids: bool) -> None:
        """Raises ConfigurationError for files that cannot be combined."""
        every = each_file(paths)
        candles = [path for path in every if path.name.endswith(SUFFIXES)]
        if candles and len(candles) < len(every):
            raise ConfigurationError("give either candle files (.csv, .csv.gz) or recordings")
        if candles and keep_ids:
            raise ConfigurationError("candle files have no entry ids; --keep-ids needs recordings")
        if candles and interval_ms(found := interval_of(candles)) != settings.candle_interval_ms:
            raise ConfigurationError(
                f"the files have {found} candles, but {PREFIX}CANDLE_INTERVAL is "
                f"{settings.candle_interval}, so the workers would ignore them; set it to {found}"
            )
        self._paths = every
        self._are_candles = bool(candles)
        self._interval_ms = settings.candle_interval_ms
        self._keep_ids = keep_ids

    def read(self, on_bad: OnBad) -> Iterator[Item]:
        return self._candles(on_bad) if self._are_candles else self._entries(on_bad)

    def _candles(self, on_bad: OnBad) -> Iterator[Item]:
        last_ms: dict[str, int] = {}
        for read in read_by_time(self._paths, on_bad):
            candle = read.candle
            before_ms = last_ms.get(candle.symbol, candle.close_time - self._interval_ms)
            if candle.close_time <= before_ms:
                on_bad(read.where, f"{candle.symbol} at {candle.close_time} is in two files")
                continue
            missing = (candle.close_time - before_ms) // self._interval_ms - 1
            if missing > 0:
                on_bad(
                    read.where,
                    f"{missing} candles of {candle.symbol} are missing between {before_ms} and "
                    f"{candle.close_time}",
                )
            last_ms[candle.symbol] = candle.close_time
            fields = encode_envelope(candle, source="replay")
            strings = [
                part.encode() if isinstance(part, str) else part
                for pair in fields.items()
                for part in pair
            ]
            yield Item(candle.close_time, packed([b"*", *strings]))

    def _entries(self, on_bad: OnBad) -> Iterator[Item]:
        files = [_with_places(path, on_bad) for path in self._paths]
        last = (-1, -1)
        for where, read in heapq.merge(*files, key=lambda each: each[1].entry.order):
            entry = read.entry
            if {*entry.fields[::2]} >= OF_A_STATE:
                raise ConfigurationError(
                    f"{where} is a published state, not a candle: replay needs recordings of the "
                    "input stream; to compare states, use marketstate verify --against"
                )
            if self._keep_ids and entry.order <= last:
                on_bad(where, f"the entry {entry.id} is in two files; an id can only be kept once")
                continue
            if len(entry.fields) >= MAX_STRINGS:
                on_bad(where, f"{len(entry.fields) // 2:,} fields; {MAX_STRINGS // 2:,} at most")
                continue
            last = entry.order
            entry_id = entry.id.encode() if self._keep_ids else b"*"
            yield Item(last[0], packed([entry_id, *entry.fields]))


def packed(strings: Sequence[bytes]) -> bytes:
    parts = [_LENGTH.pack(len(strings))]
    for string in strings:
        parts += (_LENGTH.pack(len(string)), string)
    return b"".join(parts)


def _with_places(path: Path, on_bad: OnBad) -> Iterator[tuple[str, ReadEntry]]:
    for read in read_recording(path, on_bad):
        yield f"{path}, line {read.line}", read
