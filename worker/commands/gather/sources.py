"""The streams that are gathered: given by name, or found by a pattern, also while we run."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from marketstate.schemas.entry_id import parse_entry_id
from marketstate.worker.commands.gather.patterns import is_pattern, matches
from marketstate.worker.errors import ConfigurationError, WrongKeyType
from marketstate.worker.log import log
from marketstate.worker.store.connection import Client

LOOK_EVERY_S: Final = 5.0
# After a look, Redis is left alone for so many times as long as the look took.
PAUSE_IN_LOOKS: Final = 20
KEYS_AT_ONCE: Final = 1_000
SHOWN: Final = 5


def count_of_streams(n: int) -> str:
    return f"{n:,} stream{'s' * (n != 1)}"


def refuse_own(names: list[str], own: dict[str, str]) -> None:
    """`own` are the streams that must not be gathered: key -> what it is."""
    for name in names:
        for key, what in own.items():
            if name == key or (is_pattern(name) and matches(name, key)):
                found = f"{name} is {what}" if name == key else f"{name} matches {what}, {key}"
                raise ConfigurationError(
                    f"{found}: what is appended there would be gathered again; name the streams to "
                    "gather, such as 'candles-*'"
                )


@dataclass
class _Position:
    """How far a stream has been read."""

    pending_from: bytes | None = b"0"
    """What was pending when we began is read after this id; None once it is all read."""
    last: bytes = b"0-0"
    """The last entry that the group has delivered."""

    @property
    def read_from(self) -> tuple[bytes, bytes]:
        """As gather_read.lua takes it."""
        return (b">" if self.pending_from is None else self.pending_from), self.last

    def advance(self, entry_ids: list[bytes]) -> None:
        if self.pending_from is not None:
            self.pending_from = entry_ids[-1] if entry_ids else None
        elif entry_ids:
            self.last = entry_ids[-1]


@dataclass
class Sources:
    """The streams that exist and have our group, in the order in which they are read next."""

    names: list[str]
    group: str
    start: str
    """Where a group begins that does not exist yet."""
    streams: dict[str, _Position] = field(default_factory=dict)
    _next_look_s: float = 0.0
    _positions_of_gone: dict[str, bytes] = field(default_factory=dict)
    _not_text: set[bytes] = field(default_factory=set)

    @property
    def all_pending_is_read(self) -> bool:
        return all(position.pending_from is None for position in self.streams.values())

    @property
    def seconds_to_look(self) -> float:
        return max(0.0, self._next_look_s - time.monotonic())

    def look(self, client: Client) -> None:
        """Now and then, see which streams there are."""
        if self.seconds_to_look > 0:
            return
        began_s = time.monotonic()
        new = [stream for stream in self._found(client) if stream not in self.streams]
        for stream in new:
            self._add(client, stream)
        if new:
            more = f" and {len(new) - SHOWN:,} more" if len(new) > SHOWN else ""
            in_all = count_of_streams(len(self.streams))
            log.info("gathering %s%s: %s", ", ".join(new[:SHOWN]), more, in_all)
        now_s = time.monotonic()
        self._next_look_s = now_s + max(LOOK_EVERY_S, PAUSE_IN_LOOKS * (now_s - began_s))

    def look_soon(self) -> None:
        self._next_look_s = 0.0

    def new_session(self) -> None:
        """Redis was away: it may have other streams, and what we had taken is pending again."""
        for stream, position in self.streams.items():
            self._positions_of_gone[stream] = position.last
        self.streams = {}
        self.look_soon()

    def forget(self, stream: str) -> None:
        """It was deleted, or its group was."""
        log.warning("%s or its group %s was deleted", stream, self.group)
        self._positions_of_gone[stream] = self.streams.pop(stream).last
        self.look_soon()

    def rotate(self) -> None:
        """Another stream is the first to be read."""
        first = next(iter(self.streams), None)
        if first is not None:
            self.streams[first] = self.streams.pop(first)

    def _found(self, client: Client) -> list[str]:
        found = []
        for name in self.names:
            if is_pattern(name):
                found += sorted(self._matching(client, name))
            elif self._is_stream(client, name):
                found.append(name)
        return list(dict.fromkeys(found))

    def _matching(self, client: Client, pattern: str) -> Iterator[str]:
        for key in client.scan_iter(pattern, KEYS_AT_ONCE, "STREAM"):
            try:
                yield key.decode()
            except UnicodeDecodeError:
                if key not in self._not_text:
                    log.warning("the stream %r is left out: its name is not UTF-8 text", key)
                self._not_text.add(key)

    def _is_stream(self, client: Client, name: str) -> bool:
        kind: Any = client.type(name)
        if kind not in (b"stream", b"none"):
            raise WrongKeyType(
                f"the key {name} holds a {kind.decode()}; only streams can be gathered"
            )
        return bool(kind == b"stream")

    def _add(self, client: Client, stream: str) -> None:
        start = self._positions_of_gone.pop(stream, None)
        try:
            info: Any = client.xinfo_stream(stream)
            if start is None or parse_entry_id(start) > parse_entry_id(info["last-generated-id"]):
                start = self.start.encode()  # new, or deleted and created again with lower ids
            client.xgroup_create(stream, self.group, start)
        except redis.ResponseError as error:
            if "no such key" in str(error):
                return  # deleted since it was found
            if "BUSYGROUP" not in str(error):
                raise
        groups: Any = client.xinfo_groups(stream)
        for group in groups:
            if group["name"] == self.group.encode():
                self.streams[stream] = _Position(last=group["last-delivered-id"])
