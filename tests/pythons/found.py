"""The Pythons of pythons.toml: those of the machine, and those of Debian, unpacked beside it."""

import shutil
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from tests.servers.debian import NotHad, Suites, call
from tests.support.checkout import ROOT

LIST: Final = Path(__file__).parent / "pythons.toml"
FOLDER: Final = ROOT / ".pythons"


class Python(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    suite: str = ""


def listed() -> list[Python]:
    read = tomllib.loads(LIST.read_text())["pythons"]
    return msgspec.convert(read, list[Python])


def program_of(python: Python) -> Path:
    """Raises NotHad."""
    name = f"python{python.name}"
    if on_path := shutil.which(name):
        # It may be the stand-in of a manager of versions that has none.
        with suppress(NotHad):
            version_of(Path(on_path))
            return Path(on_path)
    if not python.suite:
        raise NotHad(f"there is no {name} on the PATH, and no Debian suite has it")
    return _of_suite(name, python.suite, FOLDER / python.name / "debian")


def version_of(program: Path) -> str:
    """`3.14.0`. Raises NotHad if it does not run."""
    return call(program, "-c", "import platform; print(platform.python_version())").strip()


def _of_suite(name: str, suite: str, folder: Path) -> Path:
    root = folder / "root"
    program = root / "usr/bin" / name
    with suppress(NotHad):
        version_of(program)
        return program
    # What is left of an attempt that broke off, or of a checkout that was elsewhere.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    Suites([suite], folder / "apt").unpack_with_all_it_needs(name, root)
    linker = next(path for path in root.rglob("ld-linux-*.so.*") if not path.is_symlink())
    libraries = ":".join(map(str, root.glob("**/lib/*-linux-gnu")))
    # Run by the dynamic linker of its own system, whose C library may be newer than ours. It finds
    # its standard library, and a virtual environment its folder, by the name that it is called by.
    real = program.rename(program.with_suffix(".real"))
    program.write_text(
        f'#!/bin/sh\nexec {linker} --library-path {libraries} --argv0 "$0" {real} "$@"\n'
    )
    program.chmod(0o755)
    version_of(program)
    return program
