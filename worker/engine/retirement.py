"""Symbols that had no candle for long leave memory and Redis.

A symbol is retired when its last close is older than MARKETSTATE_RETIRE_AFTER by Redis's clock, and
its holder has seen no candle of it for as long, or for a day if that is shorter: while old candles
are fed, their symbols are in use. Nothing that is published depends on it, because the pipeline
starts a window over after a gap of that length, whether the symbol was retired or not. The
exception is a symbol that continues, after a longer silence, with candles from before its
retirement.
"""

import math
import time
from typing import Final

from marketstate.worker.engine.changes import Changes, Memory
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.engine.shards import Shards
from marketstate.worker.settings import Settings

LONGEST_SILENCE_MS: Final = 86_400_000
LOOKS_PER_SILENCE: Final = 24
# Symbols in one commit: few enough not to stop Redis for long.
RETIRED_AT_ONCE: Final = 500


class Retirement:
    def __init__(self, settings: Settings, shards: Shards, pipeline: Pipeline) -> None:
        self._shards = shards
        self._pipeline = pipeline
        self._is_on = settings.forgets_symbols
        self._after_ms = settings.retire_after_ms
        self._silence_s = min(self._after_ms, LONGEST_SILENCE_MS) / 1_000
        self._found: list[tuple[int, str, Memory]] = []
        self._next_look_s = time.monotonic() + self._silence_s / LOOKS_PER_SILENCE

    @property
    def seconds_to_look(self) -> float:
        """Seconds until symbols are looked through again; infinite if they are never retired."""
        return max(0.0, self._next_look_s - time.monotonic()) if self._is_on else math.inf

    def changes(self, now_ms: int) -> Changes:
        """Retire some of the symbols that are due at `now_ms` by Redis's clock.

        To be asked only when no entry is waiting, because it could be a candle of a symbol that
        seems silent.
        """
        if self.seconds_to_look == 0 and not self._found:
            self._next_look_s = time.monotonic() + self._silence_s / LOOKS_PER_SILENCE
            self._found = [one for one in self._shards.remembered() if self._is_due(*one, now_ms)]
        changes = Changes()
        while self._found and not changes.retired:
            some, self._found = self._found[:RETIRED_AT_ONCE], self._found[RETIRED_AT_ONCE:]
            for shard, symbol, memory in some:
                is_as_it_was = shard in self._shards and (
                    self._shards.memory(shard, symbol) is memory
                )
                if is_as_it_was and self._is_due(shard, symbol, memory, now_ms):
                    changes.finished.setdefault(shard, [])
                    changes.retired.setdefault(shard, []).append(symbol)
                    changes.count("retired")
        return changes

    def _is_due(self, _shard: int, symbol: str, memory: Memory, now_ms: int) -> bool:
        # The shorter window alone may have been lost, or never have been filled.
        last_ms = max(
            max(each.window.last_close_time_ms, each.mark.close_time_ms)
            for each in (memory, *memory.longer.values())
        )
        return (
            now_ms - last_ms >= self._after_ms
            and time.monotonic() - memory.seen_s >= self._silence_s
            and not self._pipeline.is_waiting(symbol, memory)
        )
