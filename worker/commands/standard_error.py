"""Standard error that never blocks for long: if nobody reads it, lines are dropped and counted."""

import io
import os
import select
import stat
import time
from typing import Final

PATIENCE_S: Final = 0.5
# If poll(2) reports room in a pipe, there is room for this much.
_PIECE: Final = select.PIPE_BUF


class StandardError(io.TextIOBase):
    """Writes whole lines. Once a pipe has been full for `patience_s`, no write waits until it has
    room again: a worker that waits for its log would hold its leases and do no work.
    """

    def __init__(
        self, descriptor: int, *, before_notice: str = "", patience_s: float = PATIENCE_S
    ) -> None:
        """`before_notice` is put before the line that says how many lines were dropped."""
        self._descriptor = _of_our_own(descriptor)
        self._before_notice = before_notice
        self._patience_s = patience_s
        self._unsent = ""
        self._cut_off = b""
        self._dropped = 0

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        whole, line_feed, self._unsent = (self._unsent + text).rpartition("\n")
        if line_feed:
            self._send_or_drop(whole + line_feed)
        return len(text)

    def flush(self) -> None:
        text, self._unsent = self._unsent, ""
        if text:
            self._send_or_drop(text)

    def _send_or_drop(self, text: str) -> None:
        is_stalled = bool(self._cut_off) or self._dropped > 0
        deadline_s = time.monotonic() + (0 if is_stalled else self._patience_s)
        self._cut_off = self._send(self._cut_off, deadline_s)
        if not self._cut_off:
            notice = (
                f"{self._before_notice}{self._dropped} log lines were dropped here: nobody read "
                "them\n"
            )
            data = ((notice if self._dropped else "") + text).encode(errors="backslashreplace")
            left = self._send(data, deadline_s)
            if len(left) < len(data):
                # The rest is sent first next time, so that no line is cut.
                self._dropped, self._cut_off = 0, left
                return
        self._dropped += text.count("\n")

    def _send(self, data: bytes, deadline_s: float) -> bytes:
        """Returns what could not be sent by then."""
        room = select.poll()
        room.register(self._descriptor, select.POLLOUT)
        while data:
            left_s = max(0.0, deadline_s - time.monotonic())
            if not room.poll(left_s * 1_000):
                break
            try:
                data = data[os.write(self._descriptor, data[:_PIECE]) :]
            except BlockingIOError:
                if left_s == 0:
                    break
            except OSError:
                # The reader is gone.
                return b""
        return data


def _of_our_own(descriptor: int) -> int:
    """Open a pipe again, to make it non-blocking only for us. Without that, another process that
    writes to the same pipe could fill it between our poll and our write.
    """
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        try:
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            pass  # another user's pipe
    return descriptor
