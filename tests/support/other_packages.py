"""Packages of others that have the names of our folders, beside ours in an environment."""

import subprocess
from pathlib import Path
from typing import Final

PACKAGES: Final = ("core", "schemas", "worker")


def put_others_beside(python: Path) -> None:
    """Nobody may import them: that raises."""
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    folder = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    for name in PACKAGES:
        Path(folder, f"{name}.py").write_text(f"raise RuntimeError('the {name} of others')\n")
