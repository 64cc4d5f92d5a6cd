"""An outage of Redis, as it is reported to the log, the screen and the service manager."""

import time
from collections.abc import Callable

from redis.exceptions import MovedError

from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import address, unusable
from marketstate.worker.store.refusal import is_transient, reason, refusal_of


class Outage:
    """Reports when it begins, when its reason changes, and when it ends."""

    def __init__(
        self, settings: Settings, tell: Callable[[str], None], begins: str = "lost Redis"
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._begins = begins
        self._began_s = 0.0
        self._state = ""
        self.text = ""
        """The last report, for a status line; empty while there is no outage."""

    def note(self, error: BaseException) -> None:
        """Called for each failed attempt. Errors that are not transient are ignored. Raises
        RedisUnusable where waiting cannot help: a plain URL names a node that has other keys.
        """
        if isinstance(error, MovedError) and not self._settings.on_cluster:
            raise unusable(error, self._settings) from error
        state = refusal_of(error).state
        if state == self._state or not is_transient(error):
            return
        begins = self._begins
        if self.text:
            begins = "still waiting for Redis"
        else:
            self._began_s = time.monotonic()
        self._state = state
        self.text = f"{begins} at {address(self._settings)}: {reason(error)}"
        self._tell(self.text)

    def end(self) -> None:
        """Called when an attempt has succeeded, even if there was no outage."""
        if self.text:
            self._tell(f"Redis is back after {time.monotonic() - self._began_s:.1f} s")
        self._state = self.text = ""
