"""From entries to changes: what a batch does to windows, and what is published for it.

Pure: it reads the memory of the shards, and returns what shall become true. Nothing has happened
before `commit` has written it.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from core.regime import regime_of
from core.state import MarketState, State
from core.theta import theta_hash
from core.window import Window
from schemas.candle import Candle, CandleRejected, decode_candle
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
from worker.settings import Settings, interval_ms


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
        # Asked for with every candle.
        self._needed = self._market_state.minimum_length
        self._interval_ms = settings.candle_interval_ms
        self._publish_interval_ms = settings.publish_interval_ms

    def read(self, entries: Iterable[Entry]) -> list[Reading]:
        """Tell for each entry what it is, in stream order."""
        in_order = sorted(((entry.order, entry) for entry in entries), key=itemgetter(0))
        return [Reading(entry, order, self._found(entry, order[0])) for order, entry in in_order]

    def advance(
        self, readings: Iterable[Reading], memory: MemoryOf, histories: Mapping[str, History]
    ) -> Changes:
        """What the readings change; `histories` are older closes of symbols without a memory."""
        changes = Changes()
        emissions: list[_Emission] = []
        for entry, order, found in readings:
            changes.finished.setdefault(entry.shard, []).append(entry.id)
            match found:
                case Candle(symbol=symbol):
                    if symbol not in changes.symbols:
                        changes.symbols[symbol] = self._unchanged(
                            entry.shard,
                            memory(entry.shard, symbol),
                            histories.get(symbol, ((), ())),
                        )
                    change = changes.symbols[symbol]
                    if self._apply(found, change, changes, entry) and self._is_due(order, change):
                        change.last_emitted_ms = found.close_time
                        emissions.append(_Emission(found, change.length))
                case Ignored():
                    changes.count("ignored")
                case Lost():
                    changes.count("lost", f"{entry} was trimmed before it was finished: lost")
                case CandleRejected():
                    changes.count("dead", f"{entry} is a dead letter: {found}")
                    changes.dead.append(DeadLetter(entry, str(found)))
        changes.symbols = {
            symbol: change for symbol, change in changes.symbols.items() if change.closes
        }
        self._emit(emissions, changes)
        return changes

    def _found(self, entry: Entry, entry_ms: int) -> Candle | Ignored | Lost | CandleRejected:
        if not entry.fields:
            return Lost()
        try:
            candle = decode_candle(entry.fields, entry_ms)
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
        return interval_ms(candle.interval) == self._interval_ms

    def _unchanged(self, shard: int, known: Memory | None, history: History) -> SymbolChange:
        known = known or Memory(Window(self._settings.window_size))
        close_times_ms, closes = history
        return SymbolChange(
            shard, known.window, known.last_emitted_ms, [*close_times_ms], [*closes]
        )

    def _apply(self, candle: Candle, change: SymbolChange, changes: Changes, entry: Entry) -> bool:
        """Add the candle, unless the symbol is past it already."""
        last_ms = change.last_close_time_ms
        if candle.close_time == last_ms:
            changes.count("duplicate")
            return False
        if candle.close_time < last_ms:
            changes.count(
                "late",
                f"{candle.symbol}: {entry} is late: close time {candle.close_time} "
                f"comes after {last_ms}",
            )
            return False
        missing = (candle.close_time - last_ms) // self._interval_ms - 1
        if missing > 0 and last_ms > 0:
            changes.count(
                "gap",
                f"{candle.symbol}: {missing} candles are missing between {last_ms} "
                f"and {candle.close_time}",
            )
        change.close_times_ms.append(candle.close_time)
        change.closes.append(candle.close)
        changes.count("applied")
        return True

    def _is_due(self, order: tuple[int, int], change: SymbolChange) -> bool:
        return (
            change.length >= self._needed
            and order > self._warm_until
            and change.last_close_time_ms - change.last_emitted_ms >= self._publish_interval_ms
        )

    def _emit(self, emissions: Sequence[_Emission], changes: Changes) -> None:
        """Calculate the states that are due, many at a time: the bits are the same as one by one.

        A state depends on the last closes alone, as many as theta needs, so windows of any length
        go into one array.
        """
        if not emissions:
            return
        closes = {
            symbol: np.concatenate([change.before.closes(), change.closes])
            for symbol, change in changes.symbols.items()
        }
        windows = np.stack(
            [closes[candle.symbol][length - self._needed : length] for candle, length in emissions]
        )
        states = self._market_state.get_states(windows)
        for (candle, length), state in zip(emissions, states, strict=True):
            assert state is not None, "windows are as long as theta needs"
            buffer_size = min(length, self._settings.window_size)
            changes.records.append(self._record(candle, buffer_size, state))
        changes.counters["emitted"] += len(emissions)

    def _record(self, candle: Candle, buffer_size: int, state: State) -> MarketStateRecord:
        probs, features = state["regime_probs"], state["features"]
        components = state["ts_components"]
        return MarketStateRecord(
            symbol=candle.symbol,
            interval=self._settings.candle_interval,
            source=self._settings.source,
            close_time_ms=candle.close_time,
            close=candle.close,
            sigma=state["sigma"],
            mu=state["mu"],
            ts=state["ts"],
            regime=regime_of(probs),
            regime_probs=RegimeProbs(probs["trend"], probs["mr"], probs["chop"]),
            features=Features(features["dp"], features["vr"], features["spike_proxy"]),
            windows=Windows(
                returns_n=buffer_size - 1,
                trend_windows=state["windows"]["trend_windows"],
                regime_window=state["windows"]["regime_window"],
            ),
            ts_components=TsComponents(components["mu_abs"], components["sigma_used"]),
            buffer_size=buffer_size,
            theta_hash=self._theta_hash,
        )
