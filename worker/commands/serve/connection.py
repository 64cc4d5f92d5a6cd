"""A connection of uvicorn that keeps its bounds: in number, in waiting, and in unread replies.

uvicorn itself waits forever for a request that does not come, and for a client that does not read.
"""

import asyncio
import socket
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS: Final = 256
MOST_BYTES_OF_REQUEST: Final = 8_192
"""Of the request line and the headers, together."""
REQUEST_TIMEOUT_S: Final = 10.0
_SEND_BUFFER: Final = 65_536
STALLED_S: Final = 30.0
"""For how long a client may leave what was sent to it unread."""


class BoundedConnection(H11Protocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Otherwise the kernel would keep megabytes for a client that does not read.
        own: socket.socket = transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel(self._deadline)
        self._cancel(self._stalled)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._cancel(self._deadline)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE:
            self._expect_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel(self._stalled)

    @property
    def has_deadline(self) -> bool:
        """Whether a request must come soon."""
        return self._deadline is not None and not self._deadline.cancelled()

    def _expect_request(self) -> None:
        self._cancel(self._deadline)
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
