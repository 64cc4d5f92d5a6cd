"""A program in a pseudo-terminal: what is on its screen, and how to press keys."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, Final

from tests.support.processes import MARKETSTATE, Program, environment
from tests.support.worker_process import wait_until

_FRAME: Final = "\x1b[H"
_SEQUENCE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class BlankTerminal:
    """A terminal that this process writes to."""

    def __init__(self, ours: int, stream: IO[str]) -> None:
        self._ours = ours
        self.stream = stream

    def end(self) -> str:
        """All that was written."""
        self.stream.close()
        data = b""
        while True:
            try:
                data += os.read(self._ours, 65_536)
            except OSError:  # EIO: nothing is left
                return data.decode()


@contextmanager
def blank_terminal(columns: int, lines: int) -> Iterator[BlankTerminal]:
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    set_size(ours, columns, lines)
    try:
        with open(theirs, "w", encoding="utf-8") as stream:
            yield BlankTerminal(ours, stream)
    finally:
        os.close(ours)


def set_size(descriptor: int, columns: int, lines: int) -> None:
    size = struct.pack("HHHH", lines, columns, 0, 0)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, size)


class Terminal(Program):
    """`marketstate <command>` with settings, in a pseudo-terminal."""

    def __init__(
        self,
        *command: str,
        environ: dict[str, str],
        started_by: tuple[str, ...] = (),
        **settings: object,
    ) -> None:
        self.started_by = started_by
        self._ours, self._theirs = pty.openpty()
        self.resize(120, 24)
        os.set_blocking(self._ours, False)
        self.before: list[Any] = termios.tcgetattr(self._theirs)
        self._written = b""
        super().__init__(
            [*MARKETSTATE, *command],
            env=environment(**settings) | {"TERM": "xterm-256color"} | environ,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            # Ctrl-C goes to the foreground processes of the session's controlling terminal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, columns: int, lines: int) -> None:
        set_size(self._ours, columns, lines)

    @property
    def written(self) -> str:
        """Everything written so far."""
        while True:
            try:
                data = os.read(self._ours, 65_536)
            except BlockingIOError:
                data = b""
            if not data:
                return self._written.decode(errors="replace")
            self._written += data

    @property
    def screen(self) -> list[str]:
        """The lines of the last complete frame."""
        frames = self.written.split(_FRAME)
        text = frames[-2] if len(frames) > 2 else ""
        return [line.strip("\r") for line in _SEQUENCE.sub("", text).split("\n")]

    def wait_for(self, text: str) -> None:
        wait_until(
            lambda: any(text in line for line in self.screen) or self.process.poll() is not None,
            f"the screen has {text!r}: {self.screen}",
        )
        assert any(text in line for line in self.screen), self.written[-2_000:]

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def exit_code(self) -> int:
        wait_until(lambda: (self.written, self.process.poll())[1] is not None, "it has ended")
        return super().exit_code()

    @property
    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        os.close(self._ours)
        os.close(self._theirs)
