"""A client that can send scripts, continue without the replies, and read them later."""

import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast

import redis

from marketstate.worker.store.scripts import GroupScript

_UNREAD: Final = object()

Word = str | bytes | int
"""What a command may consist of: of anything else, its text would be sent."""


class Reply:
    """The reply to a script that was sent. It is read when somebody asks for it, or before the
    reply to a later command.
    """

    def __init__(self, client: "AskingClient", call: tuple[Any, ...]) -> None:
        self._client = client
        self._call = call
        self._found: Any = _UNREAD

    def read(self) -> Any:
        """Wait for the reply. Raises redis.RedisError, as the call would."""
        if self._found is _UNREAD:
            self._client.hear(self)
        if isinstance(self._found, redis.RedisError):
            raise self._found
        return self._found

    def note(self, found: Any) -> None:
        if isinstance(found, redis.ResponseError):
            vars(found)["call"] = self._call
        self._found = found


class AskingClient(redis.Redis):
    """A client with one connection, on which replies may be outstanding.

    Redis replies in the order in which it was asked. So a reply that is outstanding comes before
    the reply to any later command, whatever is raised in between. This client therefore reads it
    first, whichever command is the next, and only then the reply to that command. The next command
    is sent before, so Redis works on it meanwhile.
    """

    def __init__(self, pool: redis.ConnectionPool) -> None:
        """Connects at once. The client owns `pool`: closing the one closes the other."""
        self._outstanding: deque[Reply] = deque()
        super().__init__(connection_pool=pool, single_connection_client=True)
        self.auto_close_connection_pool = True
        self._connection = cast(Any, self.connection)
        self._connection.register_connect_callback(self._lose_outstanding)

    def ask(self, script: GroupScript, keys: Sequence[str], args: Sequence[Word]) -> Reply:
        """Send `script` and return. Nothing loads a script which Redis does not know: then the
        reply raises NoScriptError, and nothing was carried out.
        """
        keys = script.declared(keys)
        call: tuple[Word, ...] = ("EVALSHA", script.sha, len(keys), *keys, *args)
        try:
            self._connection.send_packed_command(_packed(call))
        except BaseException:
            self.disconnect()
            raise
        reply = Reply(self, call)
        self._outstanding.append(reply)
        return reply

    def hear(self, last: Reply | None = None) -> None:
        """Read what is outstanding, up to `last` or all of it."""
        while self._outstanding:
            try:
                found = self._connection.read_response()
            except redis.ResponseError as refusal:
                found = refusal
            except BaseException:
                self.disconnect()
                raise
            reply = self._outstanding.popleft()
            reply.note(found)
            if reply is last:
                return

    def cut(self) -> None:
        """End a read that blocks in another thread: there, it raises redis.ConnectionError."""
        wire = self._connection._sock
        if wire is not None:
            with suppress(OSError):
                # An SSL socket's own method would change what the other thread is using.
                socket.socket.shutdown(wire, socket.SHUT_RDWR)

    def wait_at_most(self, seconds: float) -> None:
        """From the next connection on."""
        self._connection.socket_timeout = self._connection.socket_connect_timeout = seconds

    def disconnect(self) -> None:
        """Nobody is going to read what is on its way, so no later command may find it: the next one
        connects again.
        """
        self._connection.disconnect()
        self._lose_outstanding()

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """An error reply keeps, as `call`, what it is the reply to."""
        try:
            return super().execute_command(*words, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            vars(error)["call"] = words
            raise
        except BaseException:
            self.disconnect()
            raise

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """Called by redis-py for every command, once it is sent."""
        self.hear()
        return super().parse_response(  # type: ignore[no-untyped-call]
            connection, command_name, **options
        )

    def _lose_outstanding(self, *_connection: redis.Connection) -> None:
        """What was outstanding on a connection is lost with it."""
        while self._outstanding:
            self._outstanding.popleft().note(redis.ConnectionError("the connection was lost"))


def _packed(words: tuple[Word, ...]) -> list[bytes]:
    """A command in the protocol of Redis, in one piece. redis-py makes pieces of a few kB and sends
    each of them alone: a commit with many records takes three times as long.
    """
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    lines = [b"*%d" % len(encoded)]
    for word in encoded:
        lines += (b"$%d" % len(word), word)
    return [b"\r\n".join([*lines, b""])]
