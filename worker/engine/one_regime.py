"""Warns once a day if every state of a symbol had one regime: such labels tell nothing.

Days are those of close times, so what is published has no part in it, nor any clock.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.engine.utc import utc
from marketstate.worker.log import log

_DAY_MS: Final = 86_400_000
FEWEST_STATES: Final = 20
"""A day with fewer says nothing: its candles are too long, or the worker came late."""


class OneRegime:
    """Of the states that this worker has published since it last connected."""

    def __init__(self) -> None:
        # Per symbol the day, how many states it had so far, and their regime if they have one.
        self._days: dict[str, tuple[int, int, str]] = {}

    def note(self, records: Iterable[MarketStateRecord]) -> None:
        days = self._days
        for record in records:
            day, regime = record.close_time_ms // _DAY_MS, record.regime
            last_day, states, only = days.get(record.symbol, (day, 0, regime))
            if day != last_day:
                if only and states >= FEWEST_STATES:
                    _warn(record.symbol, last_day, states, only)
                states, only = 0, regime
            days[record.symbol] = (day, states + 1, only if only == regime else "")

    def forget(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            self._days.pop(symbol, None)


def _warn(symbol: str, day: int, states: int, regime: str) -> None:
    date = utc(day * _DAY_MS)[:10]
    log.warning(
        "%s: all %s states of %s that this worker published were %s, which tells nothing; other "
        "symbols with one regime are not logged for that day: see core/README.md, What the regime "
        "is worth",
        symbol,
        f"{states:,}",
        date,
        regime,
        extra={"kind": "one regime", "once": f"one regime {day}"},
    )
