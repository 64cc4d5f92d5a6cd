"""What the tests of the page need beside the project: a browser with its driver, and two packages.

What is missing is installed, by apt, pip and npm, and what cannot be had is said.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from tests.support.documents import ROOT

FOLDER: Final = ROOT / ".page"
AXE: Final = FOLDER / "node_modules/axe-core/axe.min.js"
# Commands, and the Debian package of each.
_PROGRAMS: Final = {"chromium": "chromium", "chromedriver": "chromium-driver", "npm": "npm"}


def without() -> Iterator[str]:
    """Installs what is missing; yields what cannot be had of what every test needs."""
    _install_programs([name for name in _PROGRAMS if shutil.which(name) is None])
    yield from (
        f"{name} (apt-get install {package})"
        for name, package in _PROGRAMS.items()
        if shutil.which(name) is None and name != "npm"
    )
    if importlib.util.find_spec("selenium") is None:
        _run(sys.executable, "-m", "pip", "install", "--quiet", "selenium>=4.25")
        importlib.invalidate_caches()
        if importlib.util.find_spec("selenium") is None:
            yield "selenium (pip install selenium)"


def has_axe() -> bool:
    """Installs it if it can."""
    if not AXE.exists() and shutil.which("npm"):
        FOLDER.mkdir(exist_ok=True)
        _run("npm", "install", "--silent", "--no-audit", "--prefix", str(FOLDER), "axe-core@4")
    return AXE.exists()


def _install_programs(missing: Sequence[str]) -> None:
    if not missing or shutil.which("apt-get") is None or os.geteuid() != 0:
        return
    packages = [_PROGRAMS[name] for name in missing]
    print(f"installing {' '.join(packages)} ...", flush=True)
    _run("apt-get", "update", "-qq")
    _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def _run(*words: str) -> None:
    """What it does not bring is seen later."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=False)
