"""Writes recording files; writing can be resumed.

A recorder that is killed leaves a cut-off end: half a line, or an incomplete gzip member. Reading
reports it; resuming drops the incomplete part and continues after the last complete entry.
"""

import fcntl
import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Self

from marketstate.schemas.recording import (
    CUT_OFF,
    MAX_LINE_BYTES,
    RecordedEntry,
    encode_entry,
    encode_header,
)
from marketstate.schemas.recording_lines import GZIP_MAGIC, TORN
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.bad_lines import refuse
from marketstate.worker.files.piped import STANDARD_OUTPUT
from marketstate.worker.files.recordings import opened, read_header, read_recording

GZIP_SUFFIX: Final = ".gz"
# Higher levels take several times longer and save little, because entries are so similar.
GZIP_LEVEL: Final = 6

Lasts = dict[int | None, RecordedEntry]
"""The last entry of each partition; of a recording of one stream, under None."""


class RecordingWriter:
    """Appends entries to a recording; a file lock allows only one writer at a time.

    `create` starts a new recording; `resume` continues one after its last complete entry.
    Standard output is written to as well; if its reader is gone, that is a BrokenPipeError.
    """

    def __init__(self, path: Path, raw: IO[bytes], *, packed: bool) -> None:
        self._path = path
        self._raw = raw
        self._file: IO[bytes] = (
            gzip.GzipFile(fileobj=raw, mode="ab", compresslevel=GZIP_LEVEL)  # type: ignore[assignment]
            if packed
            else raw
        )

    @classmethod
    def create(cls, path: Path, stream: str, partitions: int | None = None) -> Self:
        if path == STANDARD_OUTPUT:
            raw: IO[bytes] = open(1, "wb", closefd=False)  # noqa: SIM115, `close` closes it
        else:
            raw = _opened_alone(path, "xb")
        writer = cls(path, raw, packed=path.name.endswith(GZIP_SUFFIX))
        writer._write(encode_header(stream, partitions))
        writer.flush()
        return writer

    @classmethod
    def resume(cls, path: Path, stream: str, partitions: int | None = None) -> tuple[Self, Lasts]:
        """Also returns the last entry of each partition. Raises FileUnusable if this is not a
        recording of `stream` with so many, or if it is damaged anywhere but at its end.
        """
        raw = _opened_alone(path, "r+b")
        try:
            lasts, torn = _survey(path, stream, partitions)
            if torn:
                # Keep the lock on the cut-off file until its replacement is in place.
                raw, torn_raw = _without_torn_end(path, stream, partitions), raw
                torn_raw.close()
        except BaseException:
            raw.close()
            raise
        # Its name may be wrong: browsers, for example, unpack files without changing their names.
        raw.seek(0)
        packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0, os.SEEK_END)
        return cls(path, raw, packed=packed), lasts

    def add(self, entries: Iterable[RecordedEntry]) -> None:
        for entry in entries:
            line = encode_entry(entry)
            if len(line) > MAX_LINE_BYTES:
                raise FileUnusable(
                    f"the entry {entry.id} would be a line of {len(line):,} bytes; a line can have "
                    f"at most {MAX_LINE_BYTES:,}. Continue after it with --from, in another file"
                )
            self._write(line)

    def flush(self) -> None:
        """Hand everything to the operating system, so that a killed recorder loses nothing."""
        with self._naming_errors():
            self._file.flush()
            self._raw.flush()

    def close(self) -> None:
        with self._naming_errors():
            if self._file is not self._raw:
                self._file.close()
            self._raw.flush()
            if self._path != STANDARD_OUTPUT:
                os.fsync(self._raw.fileno())
            self._raw.close()

    def _write(self, content: bytes) -> None:
        with self._naming_errors():
            self._file.write(content)

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FileUnusable(f"cannot write {self._path}: {error.strerror}") from None


def _opened_alone(path: Path, mode: str) -> IO[bytes]:
    try:
        raw = path.open(mode)
    except FileExistsError:
        raise FileUnusable(
            f"{path} already exists; continue it with --resume, or choose another name"
        ) from None
    except OSError as error:
        raise FileUnusable(f"cannot write {path}: {error.strerror}") from None
    try:
        fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raw.close()
        raise FileUnusable(f"another recorder is writing {path}") from None
    return raw


def _survey(path: Path, stream: str, partitions: int | None) -> tuple[Lasts, bool]:
    """The last complete entries, and whether something incomplete follows them."""
    torn = False
    lasts: Lasts = {}

    def note(where: str, what: str) -> None:
        nonlocal torn
        if what not in (TORN, CUT_OFF):
            refuse(where, f"{what}; this recording cannot be resumed: record to another file")
        torn = True

    if not _has_whole_header(path):
        return {}, True
    with opened(path) as file:
        found = read_header(path, file)
    if (found.stream, found.partitions) != (stream, partitions):
        raise FileUnusable(
            f"{path} is a recording of {_in_words(found.stream, found.partitions)}, not of "
            f"{_in_words(stream, partitions)}"
        )
    for entry, _ in read_recording(path, note):
        lasts[entry.partition] = entry
    return lasts, torn


def _in_words(stream: str, partitions: int | None) -> str:
    return stream if partitions is None else f"{stream} with {partitions} partitions"


def _has_whole_header(path: Path) -> bool:
    with opened(path) as file:
        try:
            return file.readline(MAX_LINE_BYTES).endswith(b"\n")
        except EOFError:
            return False


def _without_torn_end(path: Path, stream: str, partitions: int | None) -> IO[bytes]:
    """Copy the complete entries to a new file, which then replaces the cut-off one."""
    whole = path.with_name(f"{path.name}.whole{GZIP_SUFFIX if path.suffix == GZIP_SUFFIX else ''}")
    whole.unlink(missing_ok=True)
    writer = RecordingWriter.create(whole, stream, partitions)
    if _has_whole_header(path):
        writer.add(entry for entry, _ in read_recording(path, lambda _where, _what: None))
    writer.close()
    raw = _opened_alone(whole, "r+b")
    whole.replace(path)
    return raw
