"""From entries to changes: what a batch does to windows, and what is published for it.

Pure: it reads the memory of the shards, and returns what shall become true. Nothing has happened
before `commit` has written it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.regime import regime_of
from core.state import MarketState, State
from core.theta import theta_hash
from core.window import Window
from schemas.candle import Candle, CandleRejected, decode_candle
from schemas.interval import interval_ms
from schemas.market_state import (
    Features,
    MarketStateRecord,
    RegimeProbs,
    TsComponents,
    Windows,
)
from worker.changes import (
    Changes,
    DeadLetter,
    Entry,
    History,
    Ignored,
    Lost,
    Memory,
    MemoryOf,
    Reading,
    SymbolChange,
)
from worker.keys import shard_of
from worker.settings import Settings


class _Emission(NamedTuple):
    """A state that is due: of a symbol, after the batch's candle that makes `length` closes."""

    candle: Candle
    length: int


class Pipeline:
    """Knows the rules by which a candle is applied, ignored or emitted."""

    def __init__(self, settings: Settings, warm_until: tuple[int, int]) -> None:
        """Up to the entry id `warm_until`, candles fill windows and emit nothing."""
        self._settings = settings
        self._wanted = settings.wanted_symbols
        self._market_state = MarketState(settings.theta)
        self._theta_hash = theta_hash(settings.theta)
        self._warm_until = warm_until

    def read(self, entries: Iterable[Entry]) -> list[Reading]:
        """Tell for each entry what it is, in stream order."""
        in_order = sorted(entries, key=lambda entry: entry.order)
        return [Reading(entry, self._found(entry)) for entry in in_order]

    def advance(
        self, readings: Iterable[Reading], memory: MemoryOf, histories: Mapping[str, History]
    ) -> Changes:
        """What the readings change; `histories` are older closes of symbols without a memory."""
        changes = Changes()
        emissions: list[_Emission] = []
        for entry, found in readings:
            changes.finished.setdefault(entry.shard, []).append(entry.id)
            where = f"entry {entry.id.decode()}"
            match found:
                case Ignored():
                    changes.count("ignored")
                case Lost():
                    changes.count("lost", f"{where} was trimmed before it was finished: lost")
                case CandleRejected():
                    changes.count("dead", f"{where} is a dead letter: {found}")
                    changes.dead.append(DeadLetter(entry, str(found)))
                case Candle(symbol=symbol):
                    if symbol not in changes.symbols:
                        changes.symbols[symbol] = self._unchanged(
                            entry.shard,
                            memory(entry.shard, symbol),
                            histories.get(symbol, ((), ())),
                        )
                    change = changes.symbols[symbol]
                    if self._apply(found, change, changes, where) and self._is_due(entry, change):
                        change.last_emitted_ms = found.close_time
                        emissions.append(_Emission(found, change.length))
        changes.symbols = {
            symbol: change for symbol, change in changes.symbols.items() if change.closes
        }
        self._emit(emissions, changes)
        return changes

    def _found(self, entry: Entry) -> Candle | Ignored | Lost | CandleRejected:
        if not entry.fields:
            return Lost()
        try:
            candle = decode_candle(entry.fields, entry.order[0])
        except CandleRejected as error:
            return error
        if self._wanted is not None and candle.symbol not in self._wanted:
            return Ignored()
        if not candle.is_closed or not self._is_of_our_interval(candle):
            return Ignored()
        shard = shard_of(candle.symbol, self._settings.shards)
        if shard != entry.shard:
            return CandleRejected(
                f"symbol {candle.symbol!r} belongs to shard {shard}, but the entry was routed to "
                f"shard {entry.shard}: does it name more than one symbol?"
            )
        return candle

    def _is_of_our_interval(self, candle: Candle) -> bool:
        """Where an entry does not say, it is; `60s` is `1m`."""
        if candle.interval is None:
            return True
        return interval_ms(candle.interval) == self._settings.candle_interval_ms

    def _unchanged(self, shard: int, known: Memory | None, history: History) -> SymbolChange:
        known = known or Memory(Window(self._settings.window_size))
        close_times_ms, closes = history
        return SymbolChange(
            shard, known.window, known.last_emitted_ms, [*close_times_ms], [*closes]
        )

    def _apply(self, candle: Candle, change: SymbolChange, changes: Changes, where: str) -> bool:
        """Add the candle, unless the symbol is past it already."""
        last_ms, interval_ms = change.last_close_time_ms, self._settings.candle_interval_ms
        if candle.close_time == last_ms:
            changes.count("duplicate")
            return False
        if candle.close_time < last_ms:
            changes.count(
                "late",
                f"{candle.symbol}: {where} is late: close time {candle.close_time} "
                f"comes after {last_ms}",
            )
            return False
        missing = (candle.close_time - last_ms) // interval_ms - 1 if last_ms else 0
        if missing > 0:
            changes.count(
                "gap",
                f"{candle.symbol}: {missing} candles are missing between {last_ms} "
                f"and {candle.close_time}",
            )
        change.close_times_ms.append(candle.close_time)
        change.closes.append(candle.close)
        changes.count("applied")
        return True

    def _is_due(self, entry: Entry, change: SymbolChange) -> bool:
        return (
            change.length >= self._market_state.minimum_length
            and entry.order > self._warm_until
            and change.last_close_time_ms - change.last_emitted_ms
            >= self._settings.publish_interval_ms
        )

    def _emit(self, emissions: Sequence[_Emission], changes: Changes) -> None:
        """Calculate the states that are due, many at a time: the bits are the same as one by one.

        A state depends on the last closes alone, as many as theta needs, so windows of any length
        go into one array.
        """
        if not emissions:
            return
        needed = self._market_state.minimum_length
        closes = {
            symbol: np.concatenate([change.before.closes(), change.closes])
            for symbol, change in changes.symbols.items()
        }
        windows = np.stack(
            [closes[candle.symbol][length - needed : length] for candle, length in emissions]
        )
        states = self._market_state.get_states(windows)
        for (candle, length), state in zip(emissions, states, strict=True):
            assert state is not None, "windows are as long as theta needs"
            buffer_size = min(length, self._settings.window_size)
            changes.records.append(self.record(candle, buffer_size, state))
        changes.counters["emitted"] += len(emissions)

    def record(self, candle: Candle, buffer_size: int, state: State) -> MarketStateRecord:
        """What is published of `state`, that after `candle` with `buffer_size` closes at hand."""
        return MarketStateRecord(
            symbol=candle.symbol,
            interval=self._settings.candle_interval,
            source=self._settings.source,
            close_time_ms=candle.close_time,
            close=candle.close,
            sigma=state["sigma"],
            mu=state["mu"],
            ts=state["ts"],
            regime=regime_of(state["regime_probs"]),
            regime_probs=RegimeProbs(**state["regime_probs"]),
            features=Features(**state["features"]),
            windows=Windows(
                returns_n=buffer_size - 1,
                trend_windows=state["windows"]["trend_windows"],
                regime_window=state["windows"]["regime_window"],
            ),
            ts_components=TsComponents(**state["ts_components"]),
            buffer_size=buffer_size,
            theta_hash=self._theta_hash,
        )
