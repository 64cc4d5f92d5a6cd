"""The Lua scripts, one action each, ready to be called on a client."""

from functools import cache
from importlib.resources import files

from redis.commands.core import Script

from worker.connection import Client


@cache
def _source(name: str) -> str:
    return files("worker").joinpath(f"lua/{name}.lua").read_text()


class Scripts:
    """Called by their digest; redis-py loads a script that Redis does not know (any more).

    That repetition is safe: a NOSCRIPT reply means that nothing was carried out.
    """

    def __init__(self, client: Client) -> None:
        def script(name: str) -> Script:
            return client.register_script(_source(name))

        self.setup = script("setup")
        self.keep = script("keep")
        self.release = script("release")
        self.route = script("route")
        self.commit = script("commit")
