"""Reads the lines of a recording: every error names the line.

The file is opened by who reads it; `unpacked` sees whether it is gzipped.
"""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final, NamedTuple

from marketstate.schemas.recording import (
    MAX_LINE_BYTES,
    Header,
    RecordedEntry,
    RecordingError,
    decode_entry,
    decode_header,
)

GZIP_MAGIC: Final = b"\x1f\x8b"
TORN: Final = "the file is cut off: its recorder was killed, or it was partly copied"


class ReadEntry(NamedTuple):
    entry: RecordedEntry
    line: int


def unpacked(raw: io.BufferedReader) -> IO[bytes]:
    """Gzipped or plain, detected from the content."""
    is_packed = raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
    return gzip.GzipFile(fileobj=raw) if is_packed else raw  # type: ignore[return-value]


def read_header(file: IO[bytes]) -> Header:
    """Raises RecordingError."""
    try:
        return decode_header(file.readline(MAX_LINE_BYTES))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RecordingError(f"not a recording: {error}") from None


def read_entries(
    file: IO[bytes], name: str, partitions: int | None, on_bad: Callable[[str, str], None]
) -> Iterator[ReadEntry]:
    """The entries after the header by id, in each of so many partitions. Bad lines, entries out of
    order and a cut-off end go to `on_bad`, with the place, such as `states.jsonl.gz, line 7`.
    """
    last_of: dict[int | None, tuple[int, int]] = {}
    for number, line in _lines(file, name, on_bad):
        try:
            entry = decode_entry(line)
        except RecordingError as error:
            on_bad(f"{name}, line {number}", str(error))
            continue
        if (entry.partition is None) != (partitions is None) or (
            entry.partition is not None and entry.partition >= (partitions or 0)
        ):
            its = "no partition" if entry.partition is None else f"the partition {entry.partition}"
            of = "one stream" if partitions is None else f"{partitions} partitions"
            what = f"it names {its}, in a recording of {of}"
            on_bad(f"{name}, line {number}", what)
            continue
        order, last = entry.order, last_of.get(entry.partition, (-1, -1))
        if order <= last:
            comes = "twice" if order == last else f"after {last[0]}-{last[1]}"
            on_bad(f"{name}, line {number}", f"entry {entry.id} comes {comes}")
            continue
        last_of[entry.partition] = order
        yield ReadEntry(entry, number)


def _lines(
    file: IO[bytes], name: str, on_bad: Callable[[str, str], None]
) -> Iterator[tuple[int, bytes]]:
    """The lines after the header, with their numbers."""
    number = 1
    try:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) <= MAX_LINE_BYTES:
                yield number, line
                continue
            on_bad(f"{name}, line {number}", f"it has more than {MAX_LINE_BYTES:,} bytes")
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
    except EOFError:
        on_bad(f"{name}, line {number + 1}", TORN)
    except (zlib.error, gzip.BadGzipFile) as error:
        on_bad(f"{name}, line {number + 1}", f"the file is damaged from here on: {error}")
