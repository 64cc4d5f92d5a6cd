"""One connection's worth of gathering: read, judge, append and acknowledge; and wait."""

import math
import time
import uuid
from collections import Counter
from dataclasses import replace
from typing import Any, Final, NamedTuple

import msgspec

from worker.commands.gather.closing import Closing
from worker.commands.gather.judging import Judge
from worker.commands.gather.sources import Sources
from worker.commands.gather.taken import Batch, Taken
from worker.engine.plan import binary
from worker.engine.status import in_words, unfinished
from worker.errors import ConfigurationError, RedisUnusable, WrongKeyType
from worker.keys import GATHERER, GatherKeys
from worker.log import log, repeats
from worker.settings import Settings
from worker.stop import Stop
from worker.store import connection
from worker.store.scripts import Scripts

ENTRIES_AT_ONCE: Final = 500
BLOCK_S: Final = 5.0
POLL_S: Final = 0.05
# After a look at the backlog, Redis is left alone for so many times as long as the look took.
PAUSE_IN_LOOKS: Final = 10


class Plan(NamedTuple):
    """What the command line asks for."""

    target: str
    updates: bool
    max_silence_s: float | None
    exchange: str | None
    max_length: float
    """Entries that the target keeps."""
    max_backlog: float
    """Entries that the workers may have unfinished there."""


class Session:
    """Lives as long as one connection, and keeps nothing from the one before.

    It owns the group from its beginning: another gatherer of the same group reads and writes
    nothing from then on.
    """

    def __init__(
        self, settings: Settings, plan: Plan, sources: Sources, counts: Counter[str]
    ) -> None:
        """Each batch that is written is added to `counts`."""
        self._settings = settings
        self._plan = plan
        self._sources = sources
        self._counts = counts
        self._keys = GatherKeys(sources.group)
        self._target_keys = replace(settings.keys, input=plan.target)
        self._client = connection.open_client(settings, block_s=BLOCK_S)
        self._scripts = Scripts(self._client)
        self._token = uuid.uuid4().hex
        self._check_target()
        self._client.set(self._keys.owner, self._token)
        known: Any = self._client.hgetall(self._keys.exchanges)
        exchanges = {symbol.decode(): exchange.decode() for symbol, exchange in known.items()}
        closing = Closing(settings, plan.max_silence_s) if plan.updates else None
        self._judge = Judge(settings, closing, plan.exchange, exchanges)
        self._backlog = math.inf
        """An upper bound; read from Redis only when it matters."""
        self._is_behind = False
        self._pause_s = POLL_S
        sources.new_session()
        sources.look(self._client)

    def work(self, stop: Stop) -> None:
        """One batch, or a wait for more."""
        self._sources.look(self._client)
        repeats.tell()
        if not self._has_room():
            stop.sleep(self._pause_s)
            return
        taken = self._read()
        if taken:
            self._write(self._judge.judge(taken))
        elif self._sources.all_pending_is_read:
            self._wait(stop)

    def _check_target(self) -> None:
        """Someone else's entries must not be trimmed unasked."""
        target, limit = self._plan.target, self._plan.max_length
        kind: Any = self._client.type(target)
        if kind not in (b"stream", b"none"):
            raise WrongKeyType(f"the key {target} holds a {kind.decode()}, not a stream")
        length: Any = self._client.xlen(target)
        if length > 1.1 * limit + ENTRIES_AT_ONCE:
            raise ConfigurationError(
                f"{target} has {length:,} entries, and would be trimmed to about {limit:,.0f}: "
                "give --max-length"
            )

    def _has_room(self) -> bool:
        """Whether the workers keep up. Without workers, the target is filled."""
        most = self._plan.max_backlog - ENTRIES_AT_ONCE
        if self._backlog <= most:
            return True
        began_s = time.monotonic()
        found = unfinished(self._client, self._target_keys, most)
        self._pause_s = max(POLL_S, PAUSE_IN_LOOKS * (time.monotonic() - began_s))
        self._backlog, at_least = found or (0, False)
        was_behind, self._is_behind = self._is_behind, self._backlog > most
        if self._is_behind and not was_behind:
            log.warning(
                "the workers have %s entries of %s unfinished; waiting until they keep up",
                in_words(int(self._backlog), at_least=at_least),
                self._plan.target,
            )
        elif was_behind and not self._is_behind:
            log.info("the workers keep up again")
        return not self._is_behind

    def _read(self) -> list[Taken]:
        self._sources.rotate()
        streams = self._sources.streams
        if not streams:
            return []
        reply: Any = self._scripts.gather_read(
            keys=[self._keys.owner, *streams],
            args=[
                *(self._token, self._keys.group, GATHERER, ENTRIES_AT_ONCE),
                *(part for position in streams.values() for part in position.read_from),
            ],
        )
        self._check_owner(reply)
        taken = []
        for stream, found in zip(list(streams), reply[1:], strict=True):
            if found == 0:
                self._sources.forget(stream)
                continue
            entries, may_lack = found
            if may_lack:
                log.warning(
                    "entries of %s between %s and %s may have been trimmed before they were read",
                    stream,
                    streams[stream].last.decode(),
                    entries[0][0].decode(),
                )
            streams[stream].advance([entry_id for entry_id, _ in entries])
            taken += [Taken(stream, entry_id, _fields(parts)) for entry_id, parts in entries]
        return taken

    def _write(self, batch: Batch) -> None:
        streams = list(batch.finished)
        if not streams:
            return  # each entry is an update that waits for the next one
        plan = {
            "candles": [binary(fields) for fields in batch.candles],
            "dead": [binary(fields) for fields in batch.dead],
            "finished": [[entry_id.decode() for entry_id in batch.finished[s]] for s in streams],
            "counts": [text for name, n in batch.counts.items() for text in (name, str(n))],
            "exchanges": [text for pair in batch.exchanges.items() for text in pair],
        }
        limit = self._plan.max_length
        reply: Any = self._scripts.gather_write(
            keys=[
                *(self._keys.owner, self._plan.target, self._settings.dead_stream),
                *(self._keys.counters, self._keys.exchanges, *streams),
            ],
            args=[
                *(self._token, self._keys.group),
                *("" if limit == math.inf else int(limit), self._settings.dead_maxlen),
                msgspec.msgpack.encode(plan),
            ],
        )
        self._check_owner(reply)
        if reply[0] == b"wrong type":
            key, kind = (part.decode(errors="replace") for part in reply[1:])
            raise WrongKeyType(f"the key {key} holds a {kind}; it cannot be written to")
        self._backlog += len(batch.candles)
        self._counts.update(batch.counts)
        for end, warning in batch.warnings:
            log.warning(warning, extra={"kind": end})

    def _wait(self, stop: Stop) -> None:
        """Until a stream has an entry newer than all that we have read, a signal, or for a while.
        This takes nothing from the groups.
        """
        seconds = min(BLOCK_S, self._sources.seconds_to_look, repeats.seconds_to_tell)
        newer_than: dict[Any, Any] = {
            stream: position.last for stream, position in self._sources.streams.items()
        }
        if newer_than:
            block_ms = max(1, math.ceil(seconds * 1_000))
            stop.interrupts(lambda: self._client.xread(newer_than, 1, block_ms))
        else:
            stop.sleep(seconds)

    def _check_owner(self, reply: list[Any]) -> None:
        if reply[0] == b"not ours":
            raise RedisUnusable(
                f"the group {self._keys.group} is no longer ours: another gatherer was started "
                "after this one and goes on from here, or Redis went back to older data; two at a "
                "time need a --group each"
            )


def _fields(parts: list[bytes] | int) -> dict[bytes, bytes] | None:
    return None if parts == 0 else dict(zip(parts[::2], parts[1::2], strict=True))  # type: ignore[index]
