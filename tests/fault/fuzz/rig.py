"""A whole worker in this process on a real Redis, fed with odd entries and judged in rounds."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import redis

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.log import log
from tests.fault.fuzz.entries import OddEntry
from tests.fault.fuzz.model import Model
from tests.support.small_workers import small_worker, work_off

# Many, so that two symbols seldom share a shard by accident: routing to the wrong one would show.
SHARDS: Final = 256
ENDS: Final = (
    *("applied", "duplicate", "revised", "late", "ignored", "unclosed"),
    *("dead", "lost", "quarantined"),
)
# What no entry may cause: the router's symbol is not the reader's, or an exception of our own.
FORBIDDEN: Final = (b"belongs to shard", b"internal error")


class Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())


class Rig:
    """Every round feeds entries, lets the worker finish them, and compares with the model."""

    def __init__(self, server: EmbeddedRedis, client: redis.Redis) -> None:
        self._server = server
        self._client = client
        self._model = Model()
        self._errors = Errors()
        log.addHandler(self._errors)
        self._workers = 0
        self._begin()

    def close(self) -> None:
        log.removeHandler(self._errors)
        self._worker.shards.release()

    def round(self, entries: Sequence[OddEntry]) -> list[str]:
        """What went wrong; empty when all is well."""
        ids = self._feed(entries)
        for entry_id, entry in zip(ids, entries, strict=True):
            fields = dict(zip(entry[::2], entry[1::2], strict=True))
            self._model.add(fields, entry_time_ms(entry_id))
        work_off(self._worker)
        wrong = [*self._forbidden(), *self._miscounted(), *self._errors.found]
        self._client.xtrim(self._worker.keys.input, maxlen=0, approximate=False)
        return wrong

    @property
    def ends(self) -> dict[str, int]:
        return dict(self._model.ends)

    def restart(self) -> list[str]:
        """Another worker loads what this one has left in Redis."""
        self._worker.shards.release()
        self._begin()
        return [*self._differing_windows(), *self._errors.found]

    def _begin(self) -> None:
        self._workers += 1
        self._worker = small_worker(
            self._server,
            f"worker-{self._workers}",
            shards=SHARDS,
            batch=2_000,
            start="replay",
            backfill_keys="none",
            dead_maxlen=100_000,
        )
        self._worker.batch_size.most = 2_000

    def _feed(self, entries: Sequence[OddEntry]) -> list[bytes]:
        with self._client.pipeline(transaction=False) as writes:
            for entry in entries:
                writes.execute_command("XADD", self._worker.keys.input, "*", *entry)  # type: ignore[no-untyped-call]
            return list(writes.execute())

    def _forbidden(self) -> list[str]:
        letters: Any = self._client.xrange(self._worker.keys.dead_stream)
        self._client.delete(self._worker.keys.dead_stream)
        return [
            f"{fields[b'error'].decode(errors='replace')}: {fields!r}"
            for _, fields in letters
            if any(text in fields[b"error"] for text in FORBIDDEN)
        ]

    def _miscounted(self) -> list[str]:
        found: Any = self._client.hgetall(self._worker.keys.counters)
        counted = {name.decode(): int(count) for name, count in found.items()}
        ends = {name: counted[name] for name in ENDS if name in counted}
        expected = {name: count for name, count in self._model.ends.items() if count}
        wrong = [] if ends == expected else [f"counters are {ends}, expected {expected}"]
        group: Any = self._client.xinfo_groups(self._worker.keys.input)[0]
        if group["pending"] or group.get("lag"):
            wrong.append(f"the group has {group['pending']} pending, lag {group.get('lag')}")
        return wrong

    def _differing_windows(self) -> list[str]:
        remembered = {
            symbol: memory.window.closes().tolist()
            for _, symbol, memory in self._worker.shards.remembered()
        }
        expected = {
            symbol: [close for _, close in window] for symbol, window in self._model.windows.items()
        }
        return [
            f"the window of {symbol!r} is {remembered.get(symbol)}, expected {expected.get(symbol)}"
            for symbol in remembered.keys() | expected.keys()
            if remembered.get(symbol) != expected.get(symbol)
        ]
