"""The recording: the entries of a stream as lines of JSON, readable with `zcat` and `jq`.

The first line says what the file is; each further line is an entry, in stream order:

    {"format":"marketstate-recording","version":1,"stream":"quantum:stream:market.klines"}
    {"id":"1746373260000-0","fields":[["symbol","BTCUSDT"],["close","95459.2"]]}

`fields` are pairs in the entry's own order; a name may occur twice, as Redis allows it. A name or
value that is not UTF-8 text is written as `{"base64":"..."}` instead. Lines end in a line feed, so
a line without one is cut off. Files whose name ends in `.gz` are gzipped, in one or more members.

Lines are untrusted: limit them to MAX_LINE_BYTES before you decode them.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from schemas.entry_id import parse_entry_id

FORMAT: Final = "marketstate-recording"
VERSION: Final = 1
# A dead letter can have a hundred fields of 128 kB; base64 makes them a third longer.
MAX_LINE_BYTES: Final = 32 * 1024 * 1024
CUT_OFF: Final = "the line is cut off: its recorder was killed, or the file was partly copied"


class RecordingError(ValueError):
    """A line does not belong in a recording; the text says what was found."""


class Header(msgspec.Struct, frozen=True):
    format: str
    version: int
    stream: str


class Binary(msgspec.Struct, frozen=True):
    """Bytes that are not UTF-8 text."""

    base64: str


class RecordedEntry(NamedTuple):
    id: str
    fields: list[bytes]
    """Name, value, name, value, ... in XADD's order."""

    @property
    def order(self) -> tuple[int, int]:
        return parse_entry_id(self.id)


# As Redis writes them; the numbers have 64 bits.
_ID: Final = re.compile("(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")
_GREATEST: Final = 2**64 - 1


class _Line(msgspec.Struct):
    id: str
    fields: Annotated[list[tuple[str | Binary, str | Binary]], Meta(min_length=1)]


_ENCODER: Final = msgspec.json.Encoder()
_LINE_DECODER: Final = msgspec.json.Decoder(_Line)
_HEADER_DECODER: Final = msgspec.json.Decoder(Header)


def encode_header(stream: str) -> bytes:
    return _ENCODER.encode(Header(FORMAT, VERSION, stream)) + b"\n"


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
    if header.version != VERSION:
        raise RecordingError(
            f"recording version {header.version}; this program reads version {VERSION}"
        )
    return header


def encode_entry(entry: RecordedEntry) -> bytes:
    flat = [_from_bytes(part) for part in entry.fields]
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    return _ENCODER.encode(_Line(entry.id, pairs)) + b"\n"


def decode_entry(line: bytes) -> RecordedEntry:
    """Raises RecordingError."""
    if not line.endswith(b"\n"):
        raise RecordingError(CUT_OFF)
    try:
        found = _LINE_DECODER.decode(line)
        entry = RecordedEntry(found.id, list(_flat(found.fields)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RecordingError(f"not an entry: {error}") from None
    is_id = _ID.fullmatch(entry.id) and max(entry.order) <= _GREATEST and entry.id != "0-0"
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


def _flat(pairs: Iterable[tuple[str | Binary, str | Binary]]) -> Iterator[bytes]:
    for pair in pairs:
        for part in pair:
            if isinstance(part, str):
                yield part.encode()
            else:
                yield b64decode(part.base64, validate=True)
