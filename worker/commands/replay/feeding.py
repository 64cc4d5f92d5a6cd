"""Feeds entries into a stream, each exactly once, and no faster than the group can work.

Whatever breaks off: how far it got stands in the same Redis as the stream, and changes together
with it (see worker/lua/feed.lua): the number of entries fed, and a digest of them all, by which the
files can be told to be the same when a replay goes on.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import redis

from worker.commands.replay.sources import Item
from worker.engine.status import unread
from worker.errors import ConfigurationError, RedisUnusable
from worker.settings import Settings
from worker.stop import Stop
from worker.store import connection
from worker.store.connection import Client
from worker.store.scripts import Scripts

T = TypeVar("T")

POLL_S: Final = 0.02
_DIGEST_BYTES: Final = 16


class ReplayFeeder:
    def __init__(
        self,
        settings: Settings,
        stop: Stop,
        on_wait: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """`on_wait` is called again and again while the group is behind; `tell` is given a line
        when Redis goes away or is full, and one when it is back.
        """
        self._settings = settings
        self._keys = settings.keys
        self._stop = stop
        self._on_wait = on_wait
        self._tell = tell
        self._lost_s: float | None = None
        self._client: Client | None = None
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self.unfinished = 0
        """At most; looked up only when that matters."""
        self._position = ""
        self.count = 0
        self.waited_s = 0.0
        """For the group."""

    def begin_anew(self) -> None:
        """Forget how far another replay of this stream got."""
        self.with_redis(lambda client: client.delete(self._keys.fed))

    def go_on(self, items: Iterator[Item]) -> None:
        """Pass over what has been fed. Raises ConfigurationError when it was something else."""
        found: Any = self.with_redis(lambda client: client.get(self._keys.fed))
        if found is None:
            return
        self._position = found.decode()
        fed = int(self._position.partition(":")[0])
        for item in items:
            self._count_in(item)
            if self.count == fed:
                break
        if self._position != self._now_at():
            raise ConfigurationError(
                f"{fed:,} entries were fed, and they are not the first {fed:,} of these files; "
                "resume with the same files and options, or begin anew under another --namespace"
            )

    def feed(self, batch: list[Item], most_unfinished: float) -> None:
        """Returns without feeding when a stop is requested while the group is behind."""
        if self.unfinished + len(batch) > most_unfinished:
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
        self.unfinished += len(batch)

    def wait_until_finished(self) -> None:
        self._wait_until_unfinished(0)

    def with_redis(self, action: Callable[[Client], T]) -> T:
        """Again and again while Redis is away: `action` must do no harm when it comes twice."""

        def attempt() -> T:
            try:
                if self._client is None:
                    self._client = connection.open_client(self._settings, block_s=0)
                    self._feed_script = Scripts(self._client).feed
                return action(self._client)
            except redis.RedisError as error:
                self._client = None
                if self._lost_s is None and connection.passes_by_itself(error):
                    self._lost_s = time.monotonic()
                    where, why = connection.address(self._settings), connection.reason(error)
                    self._tell(f"lost Redis at {where}: {why}; waiting for it")
                raise

        done = connection.until_it_passes(attempt, self._stop)
        if self._lost_s is not None:
            self._tell(f"Redis is back after {time.monotonic() - self._lost_s:.1f} s")
            self._lost_s = None
        return done

    def _wait_until_unfinished(self, most: float) -> None:
        began_s = time.monotonic()
        while not self._stop.requested:
            self.unfinished = self.with_redis(self._backlog)
            if self.unfinished <= most:
                break
            self._on_wait()
            self._stop.sleep(POLL_S)
        self.waited_s += time.monotonic() - began_s

    def _backlog(self, client: Client) -> int:
        """What the group has not finished; without a group, all that is in the stream."""
        keys = self._keys
        groups: Any = client.xinfo_groups(keys.input) if client.exists(keys.input) else []
        for group in groups:
            if group["name"] == keys.group.encode():
                return unread(client, keys, group)[0] + int(group["pending"])
        length: Any = client.xlen(keys.input)
        return int(length)

    def _send(self, before: str, after: str, blob: bytes) -> None:
        reply: Any = self._feed_script(
            keys=[self._keys.input, self._keys.fed], args=[before, after, blob]
        )
        match reply:
            case [b"fed"]:
                return
            case [b"elsewhere", found]:
                raise RedisUnusable(
                    f"{self._keys.fed} is at {found.decode() or 'the beginning'} and not where "
                    "this replay left it: another one feeds the same stream, or Redis came back "
                    "with older data; go on with --resume"
                )
            case [b"refused", why] if b"equal or smaller" in why:
                raise ConfigurationError(
                    f"{self._keys.input} has newer entries than this recording: with --keep-ids it "
                    "must be empty, or end before the recording begins"
                )
            case [b"refused", why]:
                raise redis.ResponseError(why.decode(errors="replace"))
            case _:
                raise AssertionError(f"feed.lua answered {reply!r}")

    def _count_in(self, item: Item) -> None:
        self._digest.update(item.packed)
        self.count += 1

    def _now_at(self) -> str:
        return f"{self.count}:{self._digest.hexdigest()}"
