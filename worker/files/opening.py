"""Opens text files as lines: plain or gzipped, as their content says, or the one file in a zip."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from marketstate.worker.errors import FileUnreadable, FileUnusable
from marketstate.worker.files.piped import has_zip_inside, is_nameless, reopenable

MAX_LINE_CHARACTERS: Final = 65_536
MAX_UNZIPPED_BYTES: Final = 2 * 1024**3
_AT_ONCE: Final = 1024 * 1024

# Bytes that are not UTF-8 become escapes, so that their own line is shown and refused.
_TEXT: Final[dict[str, Any]] = {
    "encoding": "utf-8-sig",
    "errors": "backslashreplace",
    "newline": "",
}
_OF_A_MAC: Final = "__MACOSX/"
# What the content is to blame for; the second is an OSError, as what the system cannot read.
_DAMAGED: Final = (zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, EOFError)


class CutOff(Exception):
    """The rest of a file cannot be read."""


def lines_of(path: Path) -> Iterator[str]:
    """The lines with their ends. Raises FileUnusable if the file cannot be opened, and CutOff where
    the rest of it cannot be read.
    """
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE_CHARACTERS + 1):
                if len(line) > MAX_LINE_CHARACTERS:
                    raise CutOff(f"a line has more than {MAX_LINE_CHARACTERS:,} characters")
                yield line
    except _DAMAGED as error:
        raise CutOff(str(error)) from None
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror or error}") from None


def count_lines(path: Path) -> int:
    """How many lines there are, up to where the rest cannot be read. Far quicker than to read them.

    Raises FileUnusable if it cannot be read at all.
    """
    count = 0
    try:
        with _opened(path) as file:
            while block := file.buffer.read(_AT_ONCE):  # type: ignore[attr-defined]
                count += block.count(b"\n")
    except _DAMAGED:
        pass
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror or error}") from None
    return count


def name_inside(path: Path) -> str | None:
    """The name of the one file in a zip; None for any other file."""
    if not _is_zip(path):
        return None
    with _zip(path) as archive:
        return _only_member(path, archive).filename.rpartition("/")[2]


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    if _is_zip(path):
        with _zip(path) as archive, archive.open(_only_member(path, archive)) as member:
            yield io.TextIOWrapper(member, **_TEXT)
    else:
        # Browsers unpack files without changing their names.
        with reopenable(path).open("rb") as raw:
            is_packed = raw.peek(2)[:2] == b"\x1f\x8b"
            plain = gzip.GzipFile(fileobj=raw) if is_packed else raw
            with io.TextIOWrapper(plain, **_TEXT) as file:
                yield file


def _is_zip(path: Path) -> bool:
    if not is_nameless(path):
        return path.name.lower().endswith(".zip")
    try:
        return has_zip_inside(path)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror or error}") from None


def _zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(reopenable(path))
    except zipfile.BadZipFile as error:
        raise FileUnusable(f"cannot read {path}: {error}") from None
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror or error}") from None


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        each
        for each in archive.infolist()
        if not each.is_dir() and not each.filename.startswith(_OF_A_MAC)
    ]
    if len(members) != 1:
        raise FileUnusable(f"{path} holds {len(members)} files; expected a zip with one CSV file")
    (member,) = members
    if member.flag_bits & 1:
        raise FileUnusable(f"{path} is encrypted; unpack it first")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileUnusable(f"{path} is compressed in an unusual way; unpack it first")
    if member.file_size > MAX_UNZIPPED_BYTES:
        raise FileUnusable(
            f"{path} holds {member.file_size:,} bytes; at most {MAX_UNZIPPED_BYTES:,} are read "
            "from a zip: unpack it first"
        )
    return member
