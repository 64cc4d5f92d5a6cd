"""Reads recording files: every error names file and line."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from marketstate.schemas.recording import (
    MAX_LINE_BYTES,
    Header,
    RecordedEntry,
    RecordingError,
    decode_entry,
    decode_header,
)
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.bad_lines import OnBad, refuse
from marketstate.worker.files.candles.names import SUFFIXES, is_candle_file
from marketstate.worker.files.piped import reopenable

TORN: Final = "the file is cut off: its recorder was killed, or it was partly copied"


class ReadEntry(NamedTuple):
    entry: RecordedEntry
    line: int


def read_recording(path: Path, on_bad: OnBad = refuse) -> Iterator[ReadEntry]:
    """The entries by id, in each partition. Raises FileUnusable if this is not a recording; bad
    lines, entries out of order and a cut-off end go to `on_bad`.
    """
    with opened(path) as file:
        partitions = read_header(path, file).partitions
        last_of: dict[int | None, tuple[int, int]] = {}
        for number, line in _lines(path, file, on_bad):
            where = f"{path}, line {number}"
            try:
                entry = decode_entry(line)
            except RecordingError as error:
                on_bad(where, str(error))
                continue
            if (entry.partition is None) != (partitions is None) or (
                entry.partition is not None and entry.partition >= (partitions or 0)
            ):
                on_bad(where, f"partition {entry.partition}, in a recording of {partitions}")
                continue
            last = last_of.get(entry.partition, (-1, -1))
            if entry.order <= last:
                comes = "twice" if entry.order == last else f"after {last[0]}-{last[1]}"
                on_bad(where, f"entry {entry.id} comes {comes}")
                continue
            last_of[entry.partition] = entry.order
            yield ReadEntry(entry, number)


def partitions_of(path: Path) -> int | None:
    """Of the group whose streams were recorded; None for a recording of one stream."""
    with opened(path) as file:
        return read_header(path, file).partitions


def read_header(path: Path, file: IO[bytes]) -> Header:
    try:
        return decode_header(file.readline(MAX_LINE_BYTES))
    except RecordingError as error:
        hint = f"; name it {' or '.join(SUFFIXES)} if it holds candles"
        raise FileUnusable(f"{path}, line 1: {error}{hint * (not is_candle_file(path))}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileUnusable(f"{path}, line 1: not a recording: {error}") from None


def _lines(path: Path, file: IO[bytes], on_bad: OnBad) -> Iterator[tuple[int, bytes]]:
    """The lines after the header, with their numbers."""
    number = 1
    try:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) <= MAX_LINE_BYTES:
                yield number, line
                continue
            on_bad(f"{path}, line {number}", f"it has more than {MAX_LINE_BYTES:,} bytes")
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
    except EOFError:
        on_bad(f"{path}, line {number + 1}", TORN)
    except (zlib.error, gzip.BadGzipFile) as error:
        on_bad(f"{path}, line {number + 1}", f"the file is damaged from here on: {error}")
    except OSError as error:
        raise FileUnusable(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Gzipped or plain, detected from the content."""
    try:
        with reopenable(path).open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            yield gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[misc]
    except OSError as error:
        raise FileUnusable(f"cannot read {path}: {error.strerror or error}") from None
