"""One connection's worth of gathering: read, judge, append and acknowledge; and wait."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from marketstate.worker.commands.gather.closing import Closing
from marketstate.worker.commands.gather.destination import Destination, check_types
from marketstate.worker.commands.gather.judging import Judge
from marketstate.worker.commands.gather.reading import BLOCK_S, GroupReader
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.commands.gather.taken import Batch, Taken
from marketstate.worker.engine.plan import binary
from marketstate.worker.keys import GatherKeys
from marketstate.worker.log import log, repeats
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection
from marketstate.worker.store.scripts import Scripts


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
    """Lives as long as one connection, and keeps nothing from the one before."""

    def __init__(
        self, settings: Settings, plan: Plan, sources: Sources, counts: Counter[str]
    ) -> None:
        """Each batch that is written is added to `counts`."""
        self._settings = settings
        self._plan = plan
        self._sources = sources
        self._counts = counts
        self._keys = GatherKeys(sources.group)
        self._client = connection.open_client(settings, block_s=BLOCK_S)
        self._scripts = Scripts(self._client)
        workers_keys = replace(settings.keys, input=plan.target)
        self._target = Destination(self._client, workers_keys, plan.max_length, plan.max_backlog)
        self._reader = GroupReader(self._client, self._scripts, self._keys, sources, counts)
        closing = Closing(settings, plan.max_silence_s) if plan.updates else None
        self._judge = Judge(settings, closing, plan.exchange, self._exchanges())

    def _exchanges(self) -> dict[str, str]:
        """By symbol. A symbol whose field is damaged is gathered as a new one."""
        key = self._keys.exchanges
        kind: Any = self._client.type(key)
        if kind not in (b"hash", b"none"):
            check_types([b"wrong type", key.encode(), kind])
        known: Any = self._client.hgetall(key)
        exchanges = {}
        for symbol, exchange in known.items():
            try:
                exchanges[symbol.decode()] = exchange.decode()
            except UnicodeDecodeError:
                log.warning("the field %r of %s is damaged and does not count", symbol, key)
        return exchanges

    def work(self, stop: Stop) -> None:
        """One batch, or a wait for more."""
        self._sources.look(self._client)
        repeats.tell()
        if not self._target.has_room():
            stop.sleep(self._target.pause_s)
            return
        taken = self.read()
        if taken:
            self._write(self._judge.judge(taken))
        else:
            self._reader.wait(stop)

    def read(self) -> list[Taken]:
        return [Taken(each.stream, each.id, each.fields) for each in self._reader.read()]

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
                *(self._reader.token, self._keys.group),
                *("" if limit == math.inf else int(limit), self._settings.dead_maxlen),
                msgspec.msgpack.encode(plan),
            ],
        )
        self._reader.check_owner(reply)
        check_types(reply)
        self._target.appended(len(batch.candles))
        self._counts.update(batch.counts)
        for end, warning in batch.warnings:
            log.warning(warning, extra={"kind": end})
