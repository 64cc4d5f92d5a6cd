"""The Lua scripts, one action each, ready to be called on a client."""

from functools import cache
from importlib.resources import files

from redis.commands.core import Script

from worker.connection import Client


@cache
def _source(*names: str) -> str:
    folder = files("worker") / "lua"
    return "".join((folder / f"{name}.lua").read_text() for name in names)


class Scripts:
    """Called by their digest; redis-py loads a script that Redis does not know (any more).

    That repetition is safe: a NOSCRIPT reply means that nothing was carried out.
    """

    def __init__(self, client: Client) -> None:
        def script(*names: str) -> Script:
            return client.register_script(_source(*names))

        self.setup = script("stream", "members", "setup")
        self.keep = script("members", "keep")
        self.load = script("load")
        self.release = script("members", "release")
        self.route = script("stream", "symbol", "route")
        self.restore = script("stream", "symbol", "restore")
        self.commit = script("commit")
        self.unread = script("unread")
        self.feed = script("feed")
