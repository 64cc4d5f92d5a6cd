"""The Lua scripts, one action each, ready to be called on a client."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.commands.core import Script

from marketstate.worker.keys import Keys


@cache
def _source(*names: str) -> str:
    folder = files("marketstate.worker") / "lua"
    return "".join((folder / f"{name}.lua").read_text() for name in names)


class GroupScript(Script):
    """A script of a group. In a partition, it also names a key that never exists, as its last one.

    A Redis Cluster moves the keys of a slot to another node one by one. While it does, it refuses
    each script that names a key which is not there, before the script begins (ASK, TRYAGAIN). A
    script that names only keys which are still there, or which it creates itself, would begin, and
    fail at the first one that has been moved. With the absent key none begins, so that none is left
    half done.
    """

    def __init__(self, client: redis.Redis, source: str, absent: str | None) -> None:
        super().__init__(client, source)
        self._absent = [] if absent is None else [absent]

    def declared(self, keys: Sequence[str]) -> list[str]:
        """All keys that a call names: `KEYS` in the script."""
        return [*keys, *self._absent]

    def __call__(
        self, keys: Sequence[Any] | None = None, args: Any = None, client: Any = None
    ) -> Any:
        return super().__call__(self.declared(keys or []), args, client)


class Scripts:
    """Called by their digest; redis-py loads a script that Redis does not know, or has forgotten.

    Calling it again after that is safe: a NOSCRIPT reply means that nothing was carried out.
    """

    def __init__(self, client: redis.Redis, keys: Keys | None = None) -> None:
        """`keys`: those of the group, for all but the scripts of `gather`."""
        absent = keys.absent if keys else None

        def script(*names: str) -> GroupScript:
            return GroupScript(client, _source(*names), absent)

        self.setup = script("integer", "stream", "clock", "members", "setup")
        self.keep = script("integer", "clock", "members", "keep")
        self.load = script("load")
        self.quarantine = script("quarantine")
        self.release = script("clock", "members", "release")
        self.route = script("integer", "stream", "steps", "clock", "symbol", "route")
        self.restore = script("integer", "stream", "steps", "symbol", "restore")
        self.entries = script("entries")
        self.commit = script("integer", "stream", "clock", "carry_out", "spell_out", "commit")
        self.complete = script("integer", "clock", "carry_out", "complete")
        self.unread = script("integer", "steps", "unread")
        self.feed = script("stream", "feed")
        self.gather_read = script("integer", "steps", "gather_read")
        self.gather_write = script("integer", "gather_write")
        self.bridge_write = script("bridge_write")
        self.bridge_done = script("integer", "bridge_done")
