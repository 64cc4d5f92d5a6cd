"""Writes the entries to the input stream, each once and in order, whatever Redis forgets."""

import random
import threading
from collections.abc import Sequence
from typing import Any, Final, Protocol

import redis

from tests.fault.chaos.entries import NUMBER_FIELD, Fields

MEAN_AT_ONCE: Final = 8
MOST_AT_ONCE: Final = 200
BETWEEN_WRITES_S: Final = 0.01

# KEYS[1] stream   ARGV[1] number of the first entry   ARGV[2...] for each entry the number of its
# arguments, then the arguments. Returns the number of the entry to feed next: after Redis came back
# with older data, its answer is right and the feeder's memory is not. It is one script, so that
# nothing can change between reading and writing, and a full Redis refuses all or nothing.
_FEED: Final = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local next_number = 0
for i = 1, last and #last[2] or 0, 2 do
  if last[2][i] == 'trace_id' then next_number = tonumber(last[2][i + 1]) + 1 end
end
if next_number ~= tonumber(ARGV[1]) then return next_number end
local at = 2
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + count))
  at, next_number = at + count + 1, next_number + 1
end
return next_number
"""
assert NUMBER_FIELD.decode() in _FEED


class Servers(Protocol):
    def client(self) -> redis.Redis:
        """To the server that has the stream now."""

    @property
    def known_port(self) -> int:
        """That of the server which, as far as is known, has the stream."""


class Feeder(threading.Thread):
    """Writes up to `goal`, which the schedule advances."""

    def __init__(
        self,
        stream: str,
        entries: Sequence[Fields],
        first_close_ms: int,
        servers: Servers,
        seed: int,
    ) -> None:
        super().__init__(name="feeder", daemon=True)
        self._stream = stream
        self.first_close_ms = first_close_ms
        self._entries = entries
        self._servers = servers
        self._rng = random.Random(f"feeder {seed}")
        self._stop_asked = threading.Event()
        self._may_feed = threading.Lock()
        self._is_held = False
        self.most = len(entries)
        self.goal = 0
        self.fed = 0
        self.rewound = 0
        """How many entries had to be fed again."""
        self.trouble: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                try:
                    with self._servers.client() as client:
                        self._feed(client)
                except redis.RedisError:
                    # Dead, full, read-only or another's: all transient. Redis will tell what was
                    # written.
                    self._stop_asked.wait(0.1)
        except BaseException as error:
            self.trouble = error

    def hold(self) -> None:
        """Nothing is fed until `go_on`."""
        self._may_feed.acquire()
        self._is_held = True

    def go_on(self) -> None:
        if self._is_held:
            self._is_held = False
            self._may_feed.release()

    def stop(self) -> None:
        self.go_on()
        self._stop_asked.set()
        if self.is_alive():
            self.join()

    def _feed(self, client: redis.Redis) -> None:
        port = self._servers.known_port
        while not self._stop_asked.wait(BETWEEN_WRITES_S):
            burst = 1 + int(self._rng.expovariate(1 / MEAN_AT_ONCE))
            count = min(burst, MOST_AT_ONCE, self.goal - self.fed)
            some = self._entries[self.fed : self.fed + max(0, count)]
            with self._may_feed:
                reply: Any = client.eval(_FEED, 1, self._stream, self.fed, *_arguments(some))
            self.rewound += max(0, self.fed - reply)
            self.fed = reply
            if port != self._servers.known_port:
                return


def _arguments(some: Sequence[Fields]) -> list[bytes | int]:
    arguments: list[bytes | int] = []
    for fields in some:
        flat = [part for pair in fields.items() for part in pair]
        arguments += [len(flat), *flat]
    return arguments
