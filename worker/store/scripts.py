"""The Lua scripts, one action each, ready to be called on a client."""

from functools import cache
from importlib.resources import files

from redis.commands.core import Script

from worker.store.connection import Client


@cache
def _source(*names: str) -> str:
    folder = files("worker") / "lua"
    return "".join((folder / f"{name}.lua").read_text() for name in names)


class Scripts:
    """Called by their digest; redis-py loads a script that Redis does not know, or has forgotten.

    Calling it again after that is safe: a NOSCRIPT reply means that nothing was carried out.
    """

    def __init__(self, client: Client) -> None:
        def script(*names: str) -> Script:
            return client.register_script(_source(*names))

        self.setup = script("integer", "stream", "clock", "members", "setup")
        self.keep = script("integer", "clock", "members", "keep")
        self.load = script("load")
        self.quarantine = script("quarantine")
        self.release = script("clock", "members", "release")
        self.route = script("integer", "stream", "steps", "clock", "symbol", "route")
        self.restore = script("integer", "stream", "steps", "symbol", "restore")
        self.entries = script("entries")
        self.commit = script("integer", "stream", "clock", "carry_out", "commit")
        self.complete = script("integer", "clock", "carry_out", "complete")
        self.unread = script("integer", "steps", "unread")
        self.feed = script("stream", "feed")
        self.gather_read = script("integer", "steps", "gather_read")
        self.gather_write = script("integer", "gather_write")
