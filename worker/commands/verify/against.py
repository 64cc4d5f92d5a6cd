"""`marketstate verify --against RECORDING`: compares the output stream with a recording.

States are matched by symbol and close time, and compared byte by byte. For each symbol, only close
times that both sides cover are compared: a live output stream keeps its last 10,000 entries, and a
replay of yesterday starts with yesterday's 257th close. While a replay's window fills, its records
differ in `buffer_size`, and in `returns_n` which follows from it. If everything else is equal, such
a state counts as the same, and is reported.

The recording says which interval its states are of, and so which output stream they belong to.

Only digests are kept, so that a month fits into memory; states that differ are read again.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from marketstate.schemas.market_state import (
    MarketStateRecord,
    UnknownRecord,
    UnknownSchema,
    decode_market_state,
    encode_record,
)
from marketstate.schemas.recording import RecordedEntry
from marketstate.worker.commands.options import names_of_intervals, published_interval
from marketstate.worker.commands.verify.recompute import leaves
from marketstate.worker.engine.all_partitions import Part, opened
from marketstate.worker.engine.group import refuse_another_number_if_seen
from marketstate.worker.engine.preflight import Finding
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.engine.utc import utc
from marketstate.worker.errors import CheckFailed, FileUnusable, WorkerError
from marketstate.worker.files.recordings import read_recording
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.store import raw_entries

ENTRIES_AT_ONCE: Final = 1_000
SUBJECT: Final = "against"


class _State(NamedTuple):
    close_time_ms: int
    symbol: str
    place: str
    """File and line, or the id of the entry and its stream."""
    whole: bytes
    """Digest of all fields."""
    but_for_buffer: bytes
    """Digest of all fields except those that say how full the window was."""
    buffer_size: int


_States = dict[str, dict[int, _State]]
"""Symbol -> close time -> state."""


def compare(settings: Settings, path: Path) -> Iterator[Finding]:
    """Raises FileUnusable if `path` is not a recording of an output stream."""
    settings = _of_recorded(settings, path)
    streams = keys_of_all(settings).output_stream
    with opened(settings, lambda part: raw_entries.open_client(part, block_s=0)) as parts:
        refuse_another_number_if_seen(*parts[0])
        recorded, others = _states(settings, _recorded(path), FileUnusable)
        if not recorded:
            hint = f", but {len(others):,} other entries" if others else ""
            raise FileUnusable(
                f"{path} has no states{_of_wanted(settings)}{hint}; record states with "
                "--stream output"
            )
        if others:
            yield Finding("warn", SUBJECT, f"{_others_in_words(others)}. They are left out")
        published, others = _states(settings, _published(parts), CheckFailed)
        if others:
            text = f"{streams}: {_others_in_words(others)}; stop that program"
            yield Finding("FAIL", SUBJECT, f"{text}. They are left out")
        yield from _one_sided(recorded, published, streams)
        comparison = _Comparison(recorded, published)
        if comparison.differing:
            yield _first_difference(comparison, parts, path, streams)
        yield from comparison.findings(streams, settings.longer_interval)


def _of_recorded(settings: Settings, path: Path) -> Settings:
    """The settings of the interval of the first state that is recorded."""
    for _, entry in _recorded(path):
        try:
            name = decode_market_state(_fields(entry)).interval
        except UnknownRecord:
            continue
        found = published_interval(settings, name)
        if found is None:
            raise FileUnusable(
                f"{path} has states of {name}, and {PREFIX}INTERVALS has "
                f"{names_of_intervals(settings)}; set it as the workers have it"
            )
        return found
    return settings


class _Comparison:
    """The comparison of the symbols that both sides have."""

    def __init__(self, recorded: _States, published: _States) -> None:
        self.recorded = recorded
        self.published = published
        self.differing: list[tuple[int, str]] = []
        """Close time and symbol."""
        self._apart: list[str] = []
        self._counts: Counter[str] = Counter()
        self._times_ms: list[int] = []
        for symbol in sorted(recorded.keys() & published.keys()):
            self._compare(symbol, recorded[symbol], published[symbol])

    def findings(self, stream: str, longer_interval: str) -> Iterator[Finding]:
        of_interval = f" of {longer_interval}" if longer_interval else ""
        counts = self._counts
        if self._apart:
            text = (
                f"the recording and {stream} have no close time in common for {_list(self._apart)}"
            )
            yield Finding("FAIL", SUBJECT, text)
        equal = counts["same"] + counts["filling"]
        compared = equal + counts["differ"]
        text = f"{equal:,} of {compared:,} states{of_interval} are the same"
        if self._times_ms:
            first_ms, last_ms = min(self._times_ms), max(self._times_ms)
            text += f", for closes from {utc(first_ms)} to {utc(last_ms)}"
        if counts["filling"]:
            text += f"; for {counts['filling']:,} of them one window was still filling"
        yield Finding("ok" if equal and not counts["differ"] else "FAIL", SUBJECT, text)
        if counts["before"] or counts["after"]:
            yield Finding(
                "skip",
                SUBJECT,
                f"{counts['before']:,} recorded states are earlier and {counts['after']:,} are "
                f"later than what {stream} covers",
            )

    def _compare(self, symbol: str, theirs: dict[int, _State], ours: dict[int, _State]) -> None:
        first_ms, last_ms = max(min(ours), min(theirs)), min(max(ours), max(theirs))
        self._counts["before"] += sum(ms < first_ms for ms in theirs)
        self._counts["after"] += sum(ms > last_ms for ms in theirs)
        if first_ms > last_ms:
            self._apart.append(symbol)
            return
        self._times_ms += (first_ms, last_ms)
        for ms in ours.keys() | theirs.keys():
            if first_ms <= ms <= last_ms:
                verdict = _verdict(ours.get(ms), theirs.get(ms))
                self._counts[verdict] += 1
                if verdict == "differ":
                    self.differing.append((ms, symbol))


def _one_sided(recorded: _States, published: _States, stream: str) -> Iterator[Finding]:
    sides = {
        "only recorded": recorded.keys() - published.keys(),
        f"only in {stream}": published.keys() - recorded.keys(),
    }
    for where, symbols in sides.items():
        if symbols:
            text = (
                f"states of {_list(symbols)} are {where}; choose what to compare with "
                f"{PREFIX}SYMBOLS"
            )
            yield Finding("FAIL", SUBJECT, text)


def _first_difference(
    comparison: _Comparison, parts: Sequence[Part], path: Path, stream: str
) -> Finding:
    ms, symbol = min(comparison.differing)
    theirs, ours = comparison.recorded[symbol].get(ms), comparison.published[symbol].get(ms)
    if ours is None or theirs is None:
        text = (
            f"the recording has a state ({theirs.place}) that {stream} lacks"
            if theirs
            else f"{stream} has a state ({ours and ours.place}) that the recording lacks"
        )
    else:
        entry = next(found for place, found in _published(parts) if place == ours.place)
        line = next(found for place, found in _recorded(path) if place == theirs.place)
        text = f"{_difference(line, entry, stream)} ({theirs.place}; entry {ours.place})"
    return Finding("FAIL", symbol, f"at the close {utc(ms)} {text}")


def _difference(recorded: RecordedEntry, published: RecordedEntry, stream: str) -> str:
    theirs, ours = _named_values(recorded), _named_values(published)
    for name in theirs | ours:
        if name not in ours:
            return f"{name} is recorded, but {stream} lacks it"
        if name not in theirs:
            return f"{stream} has {name} {ours[name]!r}, but the recording lacks it"
        if theirs[name] != ours[name]:
            return f"{name} is recorded as {theirs[name]!r}, but {stream} has {ours[name]!r}"
    return "the fields have equal values but are encoded differently"


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


def _published(parts: Iterable[Part]) -> Iterator[tuple[str, RecordedEntry]]:
    for client, settings in parts:
        stream, after = settings.keys.output_stream, "-"
        of_stream = "" if settings.partitions is None else f" of {stream}"
        while entries := raw_entries.read(client, stream, after, "+", ENTRIES_AT_ONCE):
            for entry in entries:
                yield f"{entry.id}{of_stream}", entry
            after = f"({entries[-1].id}"


def _states(
    settings: Settings, entries: Iterator[tuple[str, RecordedEntry]], unreadable: type[WorkerError]
) -> tuple[_States, list[str]]:
    """The states, and the places of entries without a record that can be read."""
    wanted = settings.wanted_symbols
    states: _States = {}
    others: list[str] = []
    for place, entry in entries:
        try:
            record = decode_market_state(_fields(entry))
        except UnknownSchema as error:
            raise unreadable(f"{place}: {error}") from None
        except UnknownRecord:
            others.append(place)
            continue
        if wanted is not None and record.symbol not in wanted:
            continue
        of_symbol = states.setdefault(record.symbol, {})
        if record.close_time_ms in of_symbol:
            raise CheckFailed(
                f"{place}: a second state of {record.symbol} for the close "
                f"{utc(record.close_time_ms)}, after {of_symbol[record.close_time_ms].place}"
            )
        of_symbol[record.close_time_ms] = _state(place, entry, record)
    return states, others


def _others_in_words(places: list[str]) -> str:
    return (
        f"{len(places):,} entries have no record that can be read, such as {places[-1]}: another "
        "program wrote them"
    )


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
    """Every value in the record, then the other fields."""
    fields = _fields(entry)
    values: dict[str, object] = dict(leaves(msgspec.json.decode(fields.pop(b"record"))))
    for name, value in fields.items():
        values[f"the field {name.decode(errors='replace')}"] = value
    return values


def _of_wanted(settings: Settings) -> str:
    return "" if settings.wanted_symbols is None else f" of {settings.symbols}"


def _list(symbols: Iterable[str]) -> str:
    return ", ".join(sorted(symbols))
