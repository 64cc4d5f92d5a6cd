"""The kernel as a program (rows.c), compiled by any compiler and run on any processor."""

import shlex
import struct
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Self

import numpy as np

from marketstate.core import kernel
from marketstate.core.kernel import NAMES
from marketstate.core.theta import Theta
from tests.property.bits.kinds import Floats
from tests.support.checkout import ROOT


class ProgramEnded(Exception):
    """It found an error in the kernel, or cannot run here; it says so itself on standard error."""


class Program:
    """The running program."""

    def __init__(self, compiler: str, under: str, folder: Path) -> None:
        path = folder / "rows"
        subprocess.run([*_compile(compiler), "-o", str(path)], check=True, cwd=ROOT)
        self._process = subprocess.Popen(
            [*shlex.split(under), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def rows(self, windows: Floats, theta: Theta, lanes: int) -> Floats:
        """The states of windows, of which it compares at most so many integers at once."""
        given, (rows, n) = kernel.parameters(theta), windows.shape
        trends = range(given.trends)
        head = struct.pack("qqq", lanes, rows, n) + bytes(given)
        head += struct.pack(f"{len(trends)}q", *(given.trend_windows[i] for i in trends))
        head += struct.pack(f"{len(trends)}d", *(given.trend_shares[i] for i in trends))
        to, from_ = self._process.stdin, self._process.stdout
        assert to is not None
        assert from_ is not None
        try:
            to.write(head + windows.tobytes())
            to.flush()
        except BrokenPipeError as error:
            raise ProgramEnded from error
        size = rows * len(NAMES) * 8
        found = from_.read(size)
        if len(found) < size:
            raise ProgramEnded
        return np.frombuffer(found).reshape(rows, len(NAMES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _compile(compiler: str) -> list[str]:
    """The command that compiles the program, with the options of the package."""
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (module,) = read["tool"]["setuptools"]["ext-modules"]
    program, *options = shlex.split(compiler)
    # rows.c includes kernel.c.
    sources = [name for name in module["sources"] if name != "core/c/kernel.c"]
    sources.append(str(Path(__file__).with_name("rows.c")))
    return [program, *module["extra-compile-args"], *options, *sources, "-lm"]
