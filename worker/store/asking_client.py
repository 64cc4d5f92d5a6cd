"""A client that can send a script, continue without the reply, and read it later."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import redis

from worker.store.scripts import GroupScript

Hear = Callable[[Any], None]


class AskingClient(redis.Redis):
    """A client with one connection, on which one reply may be outstanding.

    Redis answers in the order in which it was asked. So the reply to `ask` is outstanding until it
    is heard, whatever is raised in between: it comes before the reply to any later command. This
    client therefore hears it first, whichever command is the next, and only then reads the reply
    to that command. The next command is sent before, so Redis works on it meanwhile.
    """

    _outstanding: Hear | None = None

    def __init__(self, pool: redis.ConnectionPool) -> None:
        """Connects at once. The client owns `pool`: closing the one closes the other."""
        super().__init__(connection_pool=pool, single_connection_client=True)
        self.auto_close_connection_pool = True
        self._connection = cast(Any, self.connection)
        self._connection.register_connect_callback(self._on_connect)

    def ask(self, script: GroupScript, keys: list[str], args: list[Any], hear: Hear) -> None:
        """Send `script` and return. `hear` gets the reply, at the latest with the next command.

        `hear` must not send a command: the reply to another may be on its way. An error reply is
        dropped, also that of a script which Redis does not know: ask again with a call to see to
        it.
        """
        self.hear()
        keys = script.declared(keys)
        self._connection.send_command("EVALSHA", script.sha, len(keys), *keys, *args)
        self._outstanding = hear

    def hear(self) -> None:
        """Wait for the reply that is outstanding, if any."""
        hear, self._outstanding = self._outstanding, None
        if hear is None:
            return
        try:
            reply = self._connection.read_response()
        except redis.ResponseError:
            return
        hear(reply)

    def cut(self) -> None:
        """End a read that blocks in another thread: there, it raises redis.ConnectionError."""
        wire = self._connection._sock
        if wire is not None:
            with suppress(OSError):
                # An SSL socket's own method would change what the other thread is using.
                socket.socket.shutdown(wire, socket.SHUT_RDWR)

    def disconnect(self) -> None:
        """The next command connects again."""
        self._connection.disconnect()

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """An error reply keeps, as `call`, what it is the reply to."""
        try:
            return super().execute_command(*words, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            vars(error)["call"] = words
            raise

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """Called by redis-py for every command, once it is sent."""
        try:
            self.hear()
        except BaseException:
            # Nobody is going to read the reply to this command, so it must not wait for the next.
            connection.disconnect()
            raise
        return super().parse_response(  # type: ignore[no-untyped-call]
            connection, command_name, **options
        )

    def _on_connect(self, _connection: redis.Connection) -> None:
        """What was outstanding on a connection is lost with it."""
        self._outstanding = None
