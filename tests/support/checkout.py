"""A copy of this repository, without what tests and builds leave in a checkout."""

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_LEFT_OUT: Final = (".*", "__pycache__", "tests", "build", "venv", "*.egg-info", "*.so")


def copy_checkout(target: Path) -> Path:
    """Copy the files to `target`, which may already have an earlier copy."""
    # It has links, over which copytree would not copy.
    shutil.rmtree(target / "src", ignore_errors=True)
    shutil.copytree(
        ROOT,
        target,
        symlinks=True,
        ignore=shutil.ignore_patterns(*_LEFT_OUT),
        dirs_exist_ok=True,
    )
    return target
