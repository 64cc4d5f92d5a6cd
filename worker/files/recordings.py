"""Reads recording files: every error names file and line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from marketstate.schemas import recording_lines
from marketstate.schemas.recording import Header, RecordingError
from marketstate.schemas.recording_lines import ReadEntry, read_entries, unpacked
from marketstate.worker.errors import FileUnreadable, FileUnusable
from marketstate.worker.files.bad_lines import OnBad, refuse
from marketstate.worker.files.candles.names import SUFFIXES, is_candle_file
from marketstate.worker.files.piped import reopenable


def read_recording(path: Path, on_bad: OnBad = refuse) -> Iterator[ReadEntry]:
    """The entries by id, in each partition. Raises FileUnusable if this is not a recording; bad
    lines, entries out of order and a cut-off end go to `on_bad`.
    """
    with opened(path) as file:
        yield from read_entries(file, str(path), read_header(path, file).partitions, on_bad)


def partitions_of(path: Path) -> int | None:
    """Of the group whose streams were recorded; None for a recording of one stream."""
    with opened(path) as file:
        return read_header(path, file).partitions


def read_header(path: Path, file: IO[bytes]) -> Header:
    try:
        return recording_lines.read_header(file)
    except RecordingError as error:
        hint = f"; name it {' or '.join(SUFFIXES)} if it holds candles"
        raise FileUnusable(f"{path}, line 1: {error}{hint * (not is_candle_file(path))}") from None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Gzipped or plain, detected from the content."""
    try:
        with reopenable(path).open("rb") as raw:
            yield unpacked(raw)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror or error}") from None
