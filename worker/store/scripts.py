"""The Lua scripts, one action each, ready to be called on a client."""

from functools import cache
from importlib.resources import files
from typing import Any

from redis.commands.core import Script

from worker.store.connection import Client


@cache
def _source(*names: str) -> str:
    folder = files("worker") / "lua"
    return "".join((folder / f"{name}.lua").read_text() for name in names)


def send(script: Script, keys: list[str], args: list[Any]) -> None:
    """Call `script` without waiting for its reply, which `receive` must fetch before any other
    command. One that Redis does not know is not loaded: `receive` raises NoScriptError.
    """
    _connection(script).send_command("EVALSHA", script.sha, len(keys), *keys, *args)


def receive(script: Script) -> Any:
    return _connection(script).read_response()


def _connection(script: Script) -> Any:
    """The one connection of the client, see `connection.open_client`."""
    return script.registered_client.connection  # type: ignore[union-attr]


class Scripts:
    """Called by their digest; redis-py loads a script that Redis does not know (any more).

    That repetition is safe: a NOSCRIPT reply means that nothing was carried out.
    """

    def __init__(self, client: Client) -> None:
        def script(*names: str) -> Script:
            return client.register_script(_source(*names))

        self.setup = script("stream", "clock", "members", "setup")
        self.keep = script("clock", "members", "keep")
        self.load = script("load")
        self.release = script("clock", "members", "release")
        self.route = script("stream", "clock", "symbol", "route")
        self.restore = script("stream", "symbol", "restore")
        self.commit = script("clock", "commit")
        self.unread = script("unread")
        self.feed = script("feed")
