"""How tests start programs, and how they end them."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

PATIENCE_S: Final = 60.0
MARKETSTATE: Final = (sys.executable, "-m", "marketstate.worker")
# Put before a command: Ctrl-C is ignored, as in a job that a shell starts in the background.
IN_BACKGROUND: Final = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
_FROM_OUTSIDE: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def give_children_the_default_signals() -> None:
    """Children inherit ignored signals, but not caught ones (see execve(2)), and a shell ignores
    SIGINT for what it starts in the background.
    """
    for number in _FROM_OUTSIDE:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def environment(**settings: object) -> dict[str, str]:
    """For a program with these settings: our environment, without other settings of a worker."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MARKETSTATE_") and name != "JOURNAL_STREAM"
    }
    return inherited | {f"MARKETSTATE_{name.upper()}": str(settings[name]) for name in settings}


class Program:
    """Starts at once. As a context manager, it kills the process at the end."""

    started_by: tuple[str, ...] = ()
    """Put before the command, such as `IN_BACKGROUND`."""

    def __init__(self, command: Sequence[object], **options: Any) -> None:
        """`options` are those of `subprocess.Popen`."""
        self.process = subprocess.Popen(
            [str(word) for word in (*self.started_by, *command)], **options
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code()

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


class Sentinel(Program):
    """A sentinel, with its configuration file."""

    def __init__(self, binary: object, configuration: object) -> None:
        super().__init__(
            [binary, configuration, "--sentinel"],
            stdout=subprocess.DEVNULL,
            # Ctrl-C in a terminal goes to the whole process group; we stop this one ourselves.
            start_new_session=True,
        )


def piped(
    command: Sequence[object], *, stderr: int = subprocess.PIPE, **variables: str
) -> subprocess.Popen[str]:
    """A process with both outputs on pipes, as text; `communicate` waits for its end."""
    return subprocess.Popen(
        [str(word) for word in command],
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
