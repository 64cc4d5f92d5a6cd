"""`marketstate verify --against RECORDING`: are the states in the output stream those recorded?

States are told apart by symbol and close time, and compared to the byte. Of each symbol the close
times are compared that both sides reach over: a live output stream keeps its last 10,000 entries,
and a replay of yesterday begins with the 257th close of yesterday. While its window fills up, a
replay's records say so (`buffer_size`, and `returns_n` which follows from it); where all else is
equal, that is no difference, and counted.

Only digests are kept, so that a month fits into memory; what differs is read once more.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import redis

from schemas.market_state import MarketStateRecord, decode_market_state, encode_record
from schemas.recording import RecordedEntry
from worker import connection, raw_entries
from worker.check import Finding
from worker.connection import Client
from worker.errors import CheckFailed, FileUnusable, WorkerError
from worker.recompute import leaves
from worker.recording_files import read_recording
from worker.settings import PREFIX, Settings

ENTRIES_AT_ONCE: Final = 1_000
SUBJECT: Final = "against"


class _State(NamedTuple):
    close_time_ms: int
    symbol: str
    place: str
    """Line of the file, or id of the entry."""
    whole: bytes
    """Digest of all fields."""
    but_for_buffer: bytes
    """Digest of all but what says how full the window was."""
    buffer_size: int


_States = dict[str, dict[int, _State]]
"""Symbol -> close time -> state."""


def compare(settings: Settings, path: Path) -> Iterator[Finding]:
    """Raises FileUnusable for what is no recording of an output stream."""
    try:
        with raw_entries.open_client(settings, block_s=0) as client:
            recorded = _states(settings, _recorded(path), FileUnusable)
            if not recorded:
                raise FileUnusable(f"{path} has no states{_of_wanted(settings)}")
            published = _states(settings, _published(settings, client), CheckFailed)
            yield from _Comparison(settings, path, client).findings(recorded, published)
    except redis.RedisError as error:
        raise connection.unusable(error, settings) from error


class _Comparison:
    def __init__(self, settings: Settings, path: Path, client: Client) -> None:
        self._stream = settings.output_stream
        self._path = path
        self._client = client

    def findings(self, recorded: _States, published: _States) -> Iterator[Finding]:
        yield from self._of_one_side(recorded.keys() - published.keys(), "only recorded")
        yield from self._of_one_side(published.keys() - recorded.keys(), f"only in {self._stream}")
        counts: Counter[str] = Counter()
        differing: list[tuple[int, str]] = []
        times_ms: list[int] = []
        for symbol in sorted(recorded.keys() & published.keys()):
            ours, theirs = published[symbol], recorded[symbol]
            first_ms, last_ms = max(min(ours), min(theirs)), min(max(ours), max(theirs))
            common = {ms for ms in ours.keys() | theirs.keys() if first_ms <= ms <= last_ms}
            if not common:
                yield Finding("FAIL", symbol, "recording and stream have no close time in common")
            counts["before"] += sum(ms < first_ms for ms in theirs)
            counts["after"] += sum(ms > last_ms for ms in theirs)
            times_ms += (first_ms, last_ms) if common else ()
            for ms in common:
                verdict = _verdict(ours.get(ms), theirs.get(ms))
                counts[verdict] += 1
                if verdict == "differ":
                    differing.append((ms, symbol))
        if differing:
            ms, symbol = min(differing)
            text = self._difference(recorded[symbol].get(ms), published[symbol].get(ms))
            yield Finding("FAIL", symbol, f"at the close {_shown(ms)} {text}")
        yield self._summary(counts, times_ms)
        if counts["before"] or counts["after"]:
            yield Finding(
                "skip",
                SUBJECT,
                f"{counts['before']:,} are recorded of closes before those, {counts['after']:,} of "
                f"closes after them, which {self._stream} does not reach",
            )

    def _of_one_side(self, symbols: set[str], where: str) -> Iterator[Finding]:
        if symbols:
            names = ", ".join(sorted(symbols))
            text = f"states of {names} are {where}; {PREFIX}SYMBOLS says which to compare"
            yield Finding("FAIL", SUBJECT, text)

    def _difference(self, theirs: _State | None, ours: _State | None) -> str:
        if ours is None:
            return f"a state is recorded ({theirs and theirs.place}) that {self._stream} lacks"
        if theirs is None:
            return f"{self._stream} has a state ({ours.place}) that is not recorded"
        (entry,) = raw_entries.read(self._client, self._stream, ours.place, ours.place, 1)
        found = _named_values(entry)
        line = next(entry for place, entry in _recorded(self._path) if place == theirs.place)
        for name, value in _named_values(line).items():
            if found.get(name) != value:
                return (
                    f"{name} is recorded as {value!r} ({theirs.place}); {self._stream} has "
                    f"{found.get(name)!r} (entry {ours.place})"
                )
        return f"the fields are written in another way ({theirs.place}, entry {ours.place})"

    def _summary(self, counts: Counter[str], times_ms: list[int]) -> Finding:
        compared = counts["same"] + counts["filling"] + counts["differ"]
        text = f"{counts['same'] + counts['filling']:,} of {compared:,} states are the same"
        if times_ms:
            text += f", of closes from {_shown(min(times_ms))} to {_shown(max(times_ms))}"
        if counts["filling"]:
            text += f"; in {counts['filling']:,} of them one window was still filling"
        return Finding("ok" if compared and not counts["differ"] else "FAIL", SUBJECT, text)


def _verdict(ours: _State | None, theirs: _State | None) -> str:
    if ours is None or theirs is None:
        return "differ"
    if ours.whole == theirs.whole:
        return "same"
    is_filling = ours.buffer_size != theirs.buffer_size
    return "filling" if is_filling and ours.but_for_buffer == theirs.but_for_buffer else "differ"


def _recorded(path: Path) -> Iterator[tuple[str, RecordedEntry]]:
    for entry, line in read_recording(path):
        yield f"{path}, line {line}", entry


def _published(settings: Settings, client: Client) -> Iterator[tuple[str, RecordedEntry]]:
    after = "-"
    while entries := raw_entries.read(client, settings.output_stream, after, "+", ENTRIES_AT_ONCE):
        for entry in entries:
            yield entry.id, entry
        after = f"({entries[-1].id}"


def _states(
    settings: Settings, entries: Iterator[tuple[str, RecordedEntry]], unreadable: type[WorkerError]
) -> _States:
    wanted = settings.wanted_symbols
    states: _States = {}
    for place, entry in entries:
        try:
            record = decode_market_state(_fields(entry))
        except KeyError:
            raise unreadable(
                f"{place}: no state: it has no field 'record'; states are recorded with "
                "--stream output"
            ) from None
        except ValueError as error:  # what cannot be decoded is a ValueError
            raise unreadable(f"{place}: no state: {error}") from None
        if wanted is not None and record.symbol not in wanted:
            continue
        of_symbol = states.setdefault(record.symbol, {})
        if record.close_time_ms in of_symbol:
            raise CheckFailed(
                f"{place}: a second state of {record.symbol} at the close "
                f"{_shown(record.close_time_ms)}, after {of_symbol[record.close_time_ms].place}"
            )
        of_symbol[record.close_time_ms] = _state(place, entry, record)
    return states


def _state(place: str, entry: RecordedEntry, record: MarketStateRecord) -> _State:
    windows = msgspec.structs.replace(record.windows, returns_n=0)
    without = msgspec.structs.replace(record, buffer_size=0, windows=windows)
    rest = [
        part
        for name, value in _fields(entry).items()
        if name != b"record"
        for part in (name, value)
    ]
    return _State(
        record.close_time_ms,
        record.symbol,
        place,
        _digest(entry.fields),
        _digest([*rest, encode_record(without).encode()]),
        record.buffer_size,
    )


def _fields(entry: RecordedEntry) -> dict[bytes, bytes]:
    return dict(zip(entry.fields[::2], entry.fields[1::2], strict=True))


def _digest(strings: list[bytes]) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode(strings), digest_size=16).digest()


def _named_values(entry: RecordedEntry) -> dict[str, object]:
    """What the record says, value by value, then the other fields."""
    fields = _fields(entry)
    values: dict[str, object] = dict(leaves(msgspec.json.decode(fields[b"record"])))
    for name, value in fields.items():
        values.setdefault(name.decode(errors="replace"), value)
    return values


def _of_wanted(settings: Settings) -> str:
    return "" if settings.wanted_symbols is None else f" of {settings.symbols}"


def _shown(close_time_ms: int) -> str:
    closed = datetime.fromtimestamp(close_time_ms // 1_000, UTC)
    return f"{closed:%Y-%m-%d %H:%M:%S}"
