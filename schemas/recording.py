"""The recording: the entries of a stream as lines of JSON, readable with `zcat` and `jq`.

The first line says what the file is; each further line is an entry, in stream order:

    {"format":"marketstate-recording","version":1,"stream":"quantum:stream:market.klines"}
    {"id":"1746373260000-0","fields":[["symbol","BTCUSDT"],["close","95459.2"]]}

A recording of a group with partitions is version 2. Its first line has their number, and each entry
that of its partition, from 0. Entries are in stream order within each partition, and by time as far
as they were recorded together; two partitions may have entries with the same id:

    {"format":"marketstate-recording","version":2,"stream":"quantum:stream:market.klines","partitions":4}
    {"id":"1746373260000-0","fields":[["symbol","BTCUSDT"],["close","95459.2"]],"partition":2}

`fields` are pairs in the entry's own order; a name may occur twice, as Redis allows it. A name or
value that is not UTF-8 text is written as `{"base64":"..."}` instead. Lines end in a line feed, so
a line without one is cut off. Files whose name ends in `.gz` are gzipped, in one or more members.

Lines are untrusted: limit them to MAX_LINE_BYTES before you decode them.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from marketstate.schemas.entry_id import GREATEST, parse_entry_id

FORMAT: Final = "marketstate-recording"
VERSION: Final = 1
VERSION_OF_PARTITIONS: Final = 2
# A dead letter can have a hundred fields of 128 kB; base64 makes them a third longer.
MAX_LINE_BYTES: Final = 32 * 1024 * 1024
CUT_OFF: Final = "the line is cut off: its recorder was killed, or the file was partly copied"


class RecordingError(ValueError):
    """A line does not belong in a recording; the text says what was found."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    format: str
    version: int
    stream: str
    """With partitions, their common name, without a tag."""
    partitions: Annotated[int, Meta(ge=1)] | None = None


class Binary(msgspec.Struct, frozen=True):
    """Bytes that are not UTF-8 text."""

    base64: str


class RecordedEntry(NamedTuple):
    id: str
    fields: list[bytes]
    """Name, value, name, value, ... in XADD's order."""
    partition: int | None = None
    """None in a recording of one stream."""

    @property
    def order(self) -> tuple[int, int]:
        return parse_entry_id(self.id)


# As Redis writes them.
_ID: Final = re.compile("(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")


class _Line(msgspec.Struct, omit_defaults=True):
    id: str
    fields: Annotated[list[tuple[str | Binary, str | Binary]], Meta(min_length=1)]
    partition: Annotated[int, Meta(ge=0)] | None = None


_ENCODER: Final = msgspec.json.Encoder()
_LINE_DECODER: Final = msgspec.json.Decoder(_Line)
_HEADER_DECODER: Final = msgspec.json.Decoder(Header)


def encode_header(stream: str, partitions: int | None = None) -> bytes:
    version = VERSION if partitions is None else VERSION_OF_PARTITIONS
    return _ENCODER.encode(Header(FORMAT, version, stream, partitions)) + b"\n"


def decode_header(line: bytes) -> Header:
    """Raises RecordingError for another format, or for a version that this code cannot read."""
    try:
        header = _HEADER_DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        shown = line[:60].decode(errors="replace")
        raise RecordingError(f"not a recording: it starts with {shown!r}") from None
    if header.format != FORMAT:
        raise RecordingError(
            f"not a recording: its format is {header.format[:60]!r}, expected {FORMAT!r}"
        )
    if header.version not in (VERSION, VERSION_OF_PARTITIONS):
        raise RecordingError(
            f"recording version {header.version}; this program reads versions {VERSION} and "
            f"{VERSION_OF_PARTITIONS}"
        )
    if (header.version == VERSION_OF_PARTITIONS) != (header.partitions is not None):
        raise RecordingError(f"recording version {header.version}, partitions {header.partitions}")
    return header


def encode_entry(entry: RecordedEntry) -> bytes:
    flat = [_from_bytes(part) for part in entry.fields]
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    return _ENCODER.encode(_Line(entry.id, pairs, entry.partition)) + b"\n"


def decode_entry(line: bytes) -> RecordedEntry:
    """Raises RecordingError."""
    if not line.endswith(b"\n"):
        raise RecordingError(CUT_OFF)
    try:
        found = _LINE_DECODER.decode(line)
        entry = RecordedEntry(found.id, _flat(found.fields), found.partition)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RecordingError(f"not an entry: {error}") from None
    numbers = _ID.fullmatch(entry.id)
    is_id = numbers and max(map(int, numbers.groups())) <= GREATEST and entry.id != "0-0"
    if not is_id:
        raise RecordingError(
            f"not an entry: no stream can have the id {entry.id[:60]!r}; it must be two numbers "
            "below 2^64 with a hyphen between them, above 0-0"
        )
    return entry


def _from_bytes(raw: bytes) -> str | Binary:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Binary(b64encode(raw).decode())


def _flat(pairs: Iterable[tuple[str | Binary, str | Binary]]) -> list[bytes]:
    return [
        part.encode() if isinstance(part, str) else b64decode(part.base64, validate=True)
        for pair in pairs
        for part in pair
    ]
