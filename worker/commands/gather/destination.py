"""A stream that is appended to: whether it may be, and whether its workers keep up."""

import math
import time
from typing import Any, Final

from marketstate.worker.commands.gather.reading import ENTRIES_AT_ONCE
from marketstate.worker.engine.status import in_words, unfinished
from marketstate.worker.errors import ConfigurationError, WrongKeyType
from marketstate.worker.keys import Keys
from marketstate.worker.log import log
from marketstate.worker.store.connection import Client

POLL_S: Final = 0.05
# After a look at the backlog, Redis is left alone for so many times as long as the look took.
PAUSE_IN_LOOKS: Final = 10


class Destination:
    def __init__(self, client: Client, keys: Keys, max_length: float, max_backlog: float) -> None:
        """`keys` are those of the workers, whose input it is. Raises WrongKeyType, and
        ConfigurationError if others' entries would be trimmed unasked.
        """
        self._client = client
        self._keys = keys
        self._most = max_backlog - ENTRIES_AT_ONCE
        self._backlog = math.inf
        """An upper bound; read from Redis only when it matters."""
        self._is_behind = False
        self.pause_s = POLL_S
        """For how long to leave Redis alone if the workers are behind."""
        self._check(max_length)

    def appended(self, entries: int) -> None:
        self._backlog += entries

    def has_room(self) -> bool:
        """Whether the workers keep up. Without workers, the stream is filled."""
        if self._backlog <= self._most:
            return True
        began_s = time.monotonic()
        found = unfinished(self._client, self._keys, self._most)
        self.pause_s = max(POLL_S, PAUSE_IN_LOOKS * (time.monotonic() - began_s))
        self._backlog, at_least = found or (0, False)
        was_behind, self._is_behind = self._is_behind, self._backlog > self._most
        if self._is_behind and not was_behind:
            log.warning(
                "the workers have %s entries of %s unfinished; waiting until they keep up",
                in_words(int(self._backlog), at_least=at_least),
                self._keys.input,
            )
        elif was_behind and not self._is_behind:
            log.info("the workers keep up again")
        return not self._is_behind

    def _check(self, limit: float) -> None:
        stream = self._keys.input
        kind: Any = self._client.type(stream)
        if kind not in (b"stream", b"none"):
            raise WrongKeyType(f"the key {stream} holds a {kind.decode()}, not a stream")
        length: Any = self._client.xlen(stream)
        if length > 1.1 * limit + ENTRIES_AT_ONCE:
            raise ConfigurationError(
                f"{stream} has {length:,} entries, and would be trimmed to about {limit:,.0f}: "
                "give --max-length"
            )


def check_types(reply: list[Any]) -> None:
    """Raises WrongKeyType if the reply is that of a script that therefore did not write."""
    if reply[0] == b"wrong type":
        key, kind = (part.decode(errors="replace") for part in reply[1:])
        raise WrongKeyType(f"the key {key} holds a {kind}; it cannot be written to")
