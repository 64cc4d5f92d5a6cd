"""Reads single key presses from the terminal on standard input."""

import os
import re
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any, Final, Self

_SEQUENCES: Final = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}
_ONE_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|.", re.DOTALL)


class Keyboard:
    """A context manager in which keys are read at once, without echo. Ctrl-C still interrupts;
    Ctrl-Z is a key.
    """

    def __enter__(self) -> Self:
        self._fd = sys.stdin.fileno()
        self._before: list[Any] = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        # A program that is suspended with a changed screen and keyboard leaves a broken terminal.
        attributes = termios.tcgetattr(self._fd)
        attributes[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def pressed(self, wait_s: float) -> list[str]:
        """Wait up to `wait_s` seconds for keys, and return them as soon as there are any.

        Raises EOFError if the terminal is gone.
        """
        ready, _, _ = select.select([self._fd], [], [], wait_s)
        if not ready:
            return []
        data = os.read(self._fd, 1_024)
        if not data:
            raise EOFError
        return keys_in(data)


def keys_in(data: bytes) -> list[str]:
    """A character for each character key, a name for each special key; others are ignored."""
    found = _ONE_KEY.findall(data.decode(errors="ignore"))
    keys = (_SEQUENCES.get(text, text) for text in found)
    return [key for key in keys if not key.startswith("\x1b")]
