"""Recording files: every read error names file and line, and writing can be resumed.

A recorder that is killed leaves a cut-off end: half a line, or an incomplete gzip member. Reading
reports it; resuming drops the incomplete part and continues after the last complete entry.
"""

import fcntl
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple, Self

from schemas.recording import (
    CUT_OFF,
    MAX_LINE_BYTES,
    Header,
    RecordedEntry,
    RecordingError,
    decode_entry,
    decode_header,
    encode_entry,
    encode_header,
)
from worker.errors import FileUnusable
from worker.files.bad_lines import OnBad, refuse
from worker.files.candles.names import SUFFIXES, is_candle_file
from worker.files.piped import STANDARD_OUTPUT, reopenable

GZIP_SUFFIX: Final = ".gz"
# Higher levels take several times longer and save little, because entries are so similar.
GZIP_LEVEL: Final = 6

_TORN: Final = "the file is cut off: its recorder was killed, or it was partly copied"


class ReadEntry(NamedTuple):
    entry: RecordedEntry
    line: int


def read_recording(path: Path, on_bad: OnBad = refuse) -> Iterator[ReadEntry]:
    """The entries by id. Raises FileUnusable if this is not a recording; bad lines, entries out of
    order and a cut-off end go to `on_bad`.
    """
    with _opened(path) as file:
        read_header(path, file)
        last = (-1, -1)
        for number, line in _lines(path, file, on_bad):
            where = f"{path}, line {number}"
            try:
                entry = decode_entry(line)
            except RecordingError as error:
                on_bad(where, str(error))
                continue
            if entry.order <= last:
                comes = "twice" if entry.order == last else f"after {last[0]}-{last[1]}"
                on_bad(where, f"entry {entry.id} comes {comes}")
                continue
            last = entry.order
            yield ReadEntry(entry, number)


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
        on_bad(f"{path}, line {number + 1}", _TORN)
    except (zlib.error, gzip.BadGzipFile) as error:
        on_bad(f"{path}, line {number + 1}", f"the file is damaged from here on: {error}")
    except OSError as error:
        raise FileUnusable(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Gzipped or plain, detected from the content."""
    try:
        with reopenable(path).open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            yield gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[misc]
    except OSError as error:
        raise FileUnusable(f"cannot read {path}: {error.strerror or error}") from None


class RecordingWriter:
    """Appends entries to a recording; a file lock allows only one writer at a time.

    `create` starts a new recording; `resume` continues one after its last complete entry.
    Standard output is written to as well; if its reader is gone, that is a BrokenPipeError.
    """

    def __init__(self, path: Path, raw: IO[bytes]) -> None:
        self._path = path
        self._raw = raw
        packed = path.name.endswith(GZIP_SUFFIX)
        self._file: IO[bytes] = (
            gzip.GzipFile(fileobj=raw, mode="ab", compresslevel=GZIP_LEVEL)  # type: ignore[assignment]
            if packed
            else raw
        )

    @classmethod
    def create(cls, path: Path, stream: str) -> Self:
        if path == STANDARD_OUTPUT:
            raw: IO[bytes] = open(1, "wb", closefd=False)  # noqa: SIM115, `close` closes it
        else:
            raw = _opened_alone(path, "xb")
        writer = cls(path, raw)
        writer._write(encode_header(stream))
        writer.flush()
        return writer

    @classmethod
    def resume(cls, path: Path, stream: str) -> tuple[Self, RecordedEntry | None]:
        """Also returns the last entry, if any. Raises FileUnusable if this is not a recording of
        `stream`, or if it is damaged anywhere but at its end.
        """
        raw = _opened_alone(path, "r+b")
        try:
            last, torn = _survey(path, stream)
            if torn:
                # Keep the lock on the cut-off file until its replacement is in place.
                raw, torn_raw = _without_torn_end(path, stream), raw
                torn_raw.close()
        except BaseException:
            raw.close()
            raise
        raw.seek(0, os.SEEK_END)
        return cls(path, raw), last

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


def _survey(path: Path, stream: str) -> tuple[RecordedEntry | None, bool]:
    """The last complete entry, and whether something incomplete follows it."""
    last, torn = None, False

    def note(where: str, what: str) -> None:
        nonlocal torn
        if what not in (_TORN, CUT_OFF):
            refuse(where, f"{what}; this recording cannot be resumed: record to another file")
        torn = True

    if not _has_whole_header(path):
        return None, True
    with _opened(path) as file:
        if (found := read_header(path, file).stream) != stream:
            raise FileUnusable(f"{path} is a recording of {found}, not of {stream}")
    for entry, _ in read_recording(path, note):
        last = entry
    return last, torn


def _has_whole_header(path: Path) -> bool:
    with _opened(path) as file:
        try:
            return file.readline(MAX_LINE_BYTES).endswith(b"\n")
        except EOFError:
            return False


def _without_torn_end(path: Path, stream: str) -> IO[bytes]:
    """Copy the complete entries to a new file, which then replaces the cut-off one."""
    whole = path.with_name(f"{path.name}.whole{GZIP_SUFFIX if path.suffix == GZIP_SUFFIX else ''}")
    whole.unlink(missing_ok=True)
    writer = RecordingWriter.create(whole, stream)
    if _has_whole_header(path):
        writer.add(entry for entry, _ in read_recording(path, lambda _where, _what: None))
    writer.close()
    raw = _opened_alone(whole, "r+b")
    whole.replace(path)
    return raw
