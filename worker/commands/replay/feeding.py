"""Feeds entries into streams, each exactly once, and no faster than the groups process them.

Interruptions do not matter: the position is stored in the same Redis as the stream and changes
together with it (see worker/lua/feed.lua). It is the number of entries fed and a digest of them,
which shows whether the files are still the same when a replay is resumed.
"""

import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import redis

from marketstate.worker.commands.replay.sources import Item
from marketstate.worker.engine.key_health import printable
from marketstate.worker.engine.status import in_words, unfinished
from marketstate.worker.errors import ConfigurationError, RedisUnusable
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection
from marketstate.worker.store.connection import Client
from marketstate.worker.store.outage import Outage
from marketstate.worker.store.scripts import Scripts

T = TypeVar("T")

POLL_S: Final = 0.02
# After a look at the backlog, Redis is left alone for so many times as long as the look took.
PAUSE_IN_LOOKS: Final = 10
_DIGEST_BYTES: Final = 16
_POSITION: Final = re.compile(rb"[0-9]{1,18}:[0-9a-f]{%d}" % (2 * _DIGEST_BYTES))


class StreamFeeder:
    def __init__(
        self,
        settings: Settings,
        stop: Stop,
        on_wait: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        """While the group is behind, `on_wait` repeatedly gets how many entries it has unfinished,
        in words; `tell` gets a line when Redis goes away or is full, when the reason changes, and
        when it is back.
        """
        self._settings = settings
        self._keys = settings.keys
        self._stop = stop
        self._on_wait = on_wait
        self._outage = Outage(settings, tell)
        self._client: Client | None = None
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._unfinished = 0
        """An upper bound; read from Redis only when it matters."""
        self._position = ""
        self.count = 0
        self.waited_s = 0.0
        """Time spent waiting for the group."""

    def start_over(self) -> None:
        """Forget the position of an earlier replay of this stream."""
        self.with_redis(lambda client: client.delete(self._keys.fed))

    def resume(self) -> int:
        """How many entries have been fed: as many must now be skipped, with `skip`. Raises
        ConfigurationError for a position that no replay has written.
        """
        kind: Any = self.with_redis(lambda client: client.type(self._keys.fed))
        if kind == b"none":
            return 0
        found: Any = b"a " + kind
        if kind == b"string":
            found = self.with_redis(lambda client: client.get(self._keys.fed)) or b""
        if not _POSITION.fullmatch(found):
            raise ConfigurationError(
                f"{self._keys.fed} holds {printable(found[:40])!r}, which is not how far a replay "
                "came; remove the replay with --clean, and start over"
            )
        self._position = found.decode()
        return self._fed

    def skip(self, item: Item) -> None:
        self._count_in(item)

    def check_skipped(self) -> None:
        """Raises ConfigurationError if something else than what was skipped has been fed."""
        if self._position and self._position != self._now_at():
            raise ConfigurationError(
                f"{self._fed:,} entries were fed into {self._keys.input}, but they are not the "
                f"first {self._fed:,} of these files; resume with the same files and options, or "
                "start over under another --namespace"
            )

    def feed(self, batch: list[Item], most_unfinished: float) -> None:
        """Returns without feeding if a stop is requested while the group is behind."""
        if self._unfinished + len(batch) > most_unfinished:
            self._wait_until_unfinished(most_unfinished - len(batch))
        if self._stop.requested:
            return
        before = self._position
        for item in batch:
            self._count_in(item)
        after = self._now_at()
        blob = b"".join(item.packed for item in batch)
        self.with_redis(lambda _client: self._send(before, after, blob))
        self._position = after
        self._unfinished += len(batch)

    def wait_until_finished(self) -> None:
        self._wait_until_unfinished(0)

    def with_redis(self, action: Callable[[Client], T]) -> T:
        """Retries while Redis is away: running `action` twice must be harmless."""

        def attempt() -> T:
            try:
                if self._client is None:
                    self._client = connection.open_client(self._settings, block_s=0)
                    self._feed_script = Scripts(self._client, self._keys).feed
                return action(self._client)
            except redis.RedisError:
                self._client = None
                raise

        done = connection.retry_transient(attempt, self._stop, self._outage.note)
        self._outage.end()
        return done

    def _wait_until_unfinished(self, most: float) -> None:
        began_s = time.monotonic()
        while not self._stop.requested:
            looked_s = time.monotonic()
            self._unfinished, at_least = self.with_redis(lambda client: self._backlog(client, most))
            if self._unfinished <= most:
                break
            self._on_wait(in_words(self._unfinished, at_least=at_least))
            look_s = time.monotonic() - looked_s
            self._stop.sleep(max(POLL_S, PAUSE_IN_LOOKS * look_s))
        self.waited_s += time.monotonic() - began_s

    def _backlog(self, client: Client, most: float) -> tuple[int, bool]:
        """As `unfinished`; without a group, all of the stream."""
        found = unfinished(client, self._keys, most)
        length: Any = client.xlen(self._keys.input) if found is None else 0
        return found or (int(length), False)

    def _send(self, before: str, after: str, blob: bytes) -> None:
        reply: Any = self._feed_script(
            keys=[self._keys.input, self._keys.fed], args=[before, after, blob]
        )
        match reply:
            case [b"fed"]:
                return
            case [b"elsewhere", found]:
                raise RedisUnusable(
                    f"{self._keys.fed} is at {found.decode() or 'the beginning'}, not where this "
                    "replay left it: another replay feeds the same stream, or Redis came back "
                    "with older data; continue with --resume"
                )
            case [b"not above", entry_id, last]:
                raise ConfigurationError(
                    f"{self._keys.input} has newer entries than this recording: its last id is "
                    f"{last.decode()}, so the entry {entry_id.decode()} cannot follow; for "
                    "--keep-ids the stream must be empty, or end before the recording starts"
                )
            case [b"not an id", found]:
                raise ConfigurationError(
                    f"the entry {found.decode(errors='replace')!r} cannot keep its id: no stream "
                    "can have that id"
                )
            case [b"refused", why]:
                raise redis.ResponseError(why.decode(errors="replace"))
            case _:
                raise AssertionError(f"feed.lua answered {reply!r}")

    @property
    def _fed(self) -> int:
        return int(self._position.partition(":")[0] or 0)

    def _count_in(self, item: Item) -> None:
        self._digest.update(item.packed)
        self.count += 1

    def _now_at(self) -> str:
        return f"{self.count}:{self._digest.hexdigest()}"
