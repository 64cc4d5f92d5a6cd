"""Environments with another redis-py; all else comes from .venv."""

import sys
import sysconfig
from pathlib import Path
from typing import Final

from tests.servers.debian import call
from tests.servers.fetched import FOLDER, pip_install

VERSIONS: Final = """
from importlib.metadata import version
from importlib.util import find_spec
names = [name for name in ("redis", "hiredis") if find_spec(name)]
print(", ".join(f"{name} {version(name)}" for name in names))
"""


def environment_with(requirement: str) -> Path:
    """Its Python. Raises NotHad."""
    folder = FOLDER / "clients" / requirement
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        call(sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
        (packages,) = folder.glob("lib/python*/site-packages")
        pip_install(requirement, packages)
        # Its own packages come first on the path.
        of_venv = sysconfig.get_path("purelib")
        (packages / "venv.pth").write_text(f"import site; site.addsitedir({of_venv!r})\n")
        (folder / "ready").touch()
    return python


def versions_in(python: Path) -> str:
    return call(python, "-c", VERSIONS).strip()
