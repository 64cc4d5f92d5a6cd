"""Pipes as files that can be read more than once: standard input, `<(zcat ...)`, and named pipes.

What comes through a pipe is copied to a temporary file, which nobody else sees and which ends with
this process.
"""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final, cast

STANDARD_INPUT: Final = Path("/dev/stdin")
STANDARD_OUTPUT: Final = Path("/dev/stdout")
_WITHOUT_NAMES: Final = (Path("/dev"), Path("/proc"))
_ZIP: Final = b"PK\x03\x04"


def readable_path(text: str) -> Path:
    """The path of a file to read on a command line, where `-` is standard input."""
    return STANDARD_INPUT if text == "-" else Path(text)


def writable_path(text: str) -> Path:
    """The path of a file to write on a command line, where `-` is standard output."""
    return STANDARD_OUTPUT if text == "-" else Path(text)


def is_nameless(path: Path) -> bool:
    """Whether the name says nothing about what is read, as that of standard input."""
    return any(folder in path.parents for folder in _WITHOUT_NAMES)


def reopenable(path: Path) -> Path:
    """Where to read `path`, from its beginning each time. Raises OSError."""
    if path == STANDARD_INPUT or (path.exists() and not (path.is_file() or path.is_dir())):
        return Path(f"/proc/self/fd/{_copied(path).fileno()}")
    return path


def has_zip_inside(path: Path) -> bool:
    """By its content. Raises OSError."""
    with reopenable(path).open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


@cache
def _copied(path: Path) -> BinaryIO:
    """Only the first call reads; later ones have the same copy."""
    with _opened_once(path) as source:
        copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115, it stays open
        shutil.copyfileobj(source, copy)
    copy.flush()
    return copy


def _opened_once(path: Path) -> BinaryIO:
    # Opening /dev/stdin again fails for sockets and for pipes of another user.
    return open(os.dup(0), "rb") if path == STANDARD_INPUT else path.open("rb")
