"""Clocks that can be set: a library is preloaded into a process, and reads how far it is off."""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

from tests.fault.chaos.trouble import HarnessTrouble

SOURCE: Final = Path(__file__).with_name("clock.c")
_CONTENT: Final = struct.Struct("<qq")


class Clock:
    """The clock of one process, also of those that take its place."""

    def __init__(self, library: Path, path: Path) -> None:
        self._library = library
        self._path = path
        path.write_bytes(bytes(_CONTENT.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _CONTENT.size)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to go by this clock."""
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._path)}

    def set(self, offset_s: float) -> None:
        self._shared[:8] = struct.pack("<q", int(offset_s * 1e9))

    @property
    def times_asked(self) -> int:
        """How often the process has asked for the time while its clock was wrong."""
        _, times = _CONTENT.unpack(self._shared[:])
        return int(times)


def build_library(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise HarnessTrouble("found no C compiler for the clocks: apt-get install gcc")
    library = folder / "clock.so"
    built = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    if built.returncode != 0:
        raise HarnessTrouble(f"{SOURCE.name} could not be compiled: {built.stderr[-500:]}")
    return library
