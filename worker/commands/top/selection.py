"""Which markets `marketstate top` shows, and in which order, as changed by key presses.

The table of columns is here because every column can be sorted by.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from marketstate.worker.commands.durations import brief_duration
from marketstate.worker.commands.markets import Market, shown
from marketstate.worker.commands.regime_words import REGIMES

T = TypeVar("T")

SUSPEND: Final = "\x1a"
"""Ctrl-Z"""
_LONGEST_FILTER: Final = 40
STATES_SHOWN: Final = 12
"""In a sparkline."""
_FAR: Final = 10**9
# (rows, pages); `chosen` limits the position to the rows that exist.
_MOVES: Final = {
    "up": (-1, 0),
    "k": (-1, 0),
    "down": (1, 0),
    "j": (1, 0),
    "page up": (0, -1),
    "page down": (0, 1),
    "home": (-_FAR, 0),
    "end": (_FAR, 0),
}


class Column(NamedTuple):
    name: str
    width: int
    text: Callable[[Market, float], str]
    """The cell for a market, at a time in ms."""
    value: Callable[[Market], Any]
    """The sort key."""
    falling: bool = True
    """Whether the default order is descending."""


def price_in_words(value: float) -> str:
    return np.format_float_positional(value, precision=8, fractional=False, trim="-")


def _probs(market: Market) -> tuple[float, float, float]:
    probs = market.record.regime_probs
    return probs.trend, probs.mr, probs.chop


COLUMNS: Final = (
    Column("symbol", 12, lambda m, _: shown(m.record.symbol), lambda m: m.record.symbol, False),
    Column("price", 12, lambda m, _: price_in_words(m.record.close), lambda m: m.record.close),
    Column("sigma", 10, lambda m, _: f"{m.record.sigma:.8f}", lambda m: m.record.sigma),
    Column("mu", 11, lambda m, _: f"{m.record.mu:+.8f}", lambda m: m.record.mu),
    Column("ts", 8, lambda m, _: f"{m.record.ts:.4f}", lambda m: m.record.ts),
    Column(
        "recent sigma",
        STATES_SHOWN,
        lambda _m, _: "",
        lambda m: m.record.sigma / m.recent[0].sigma if m.recent and m.recent[0].sigma else 1.0,
    ),
    Column(
        "recent",
        STATES_SHOWN,
        lambda _m, _: "",
        lambda m: m.record.close / m.recent[0].close if m.recent else 1.0,
    ),
    Column(
        "t/mr/c %",
        8,
        lambda m, _: "/".join(f"{p * 100:.0f}" for p in _probs(m)),
        lambda m: max(_probs(m)),
    ),
    Column("regime", 6, lambda m, _: shown(m.record.regime)[:6], lambda m: m.record.regime, False),
    Column(
        "held",
        5,
        lambda m, _: ("" if m.since_known else ">") + brief_duration(m.held_ms / 1_000),
        lambda m: m.held_ms,
    ),
    Column(
        "missing",
        7,
        lambda m, _: str(m.record.missing or ""),
        lambda m: m.record.missing,
    ),
    Column(
        "age",
        5,
        lambda m, now_ms: brief_duration((now_ms - m.record.close_time_ms) / 1_000),
        lambda m: -m.record.close_time_ms,
    ),
)


class Look:
    """`press` changes it; `chosen` applies it."""

    def __init__(self, intervals: Sequence[str] = (), interval: str = "") -> None:
        """`intervals` are those to choose from, and `interval` is the first."""
        self.intervals = intervals
        self.interval = interval
        self.done = False
        self.with_help = False
        self.suspended = False
        self.with_chart = False
        self.column = COLUMNS[0]
        self.reversed = False
        self.regime = "all"
        self.text = ""
        self.typing = False
        self.first = 0
        """Number of the first row on the screen."""
        self.marked = 0
        """Number of the marked row."""
        self.symbol = ""
        """That of the marked row when it was last drawn, or that of the chart."""
        self._rows_to_move = 0

    def press(self, key: str, page: int) -> None:
        """`page` is the number of rows on the screen."""
        if key == SUSPEND:
            self.suspended = True
        elif self.typing:
            self._type(key)
        elif self.with_help and key != "q":
            self.with_help = False
        elif key == "q":
            self.done = True
        elif key == "?":
            self.with_help = True
        elif key in _MOVES:
            rows, pages = _MOVES[key]
            self._rows_to_move += rows + pages * page
        elif self.with_chart:
            self.with_chart = key not in ("enter", "escape")
        elif key == "enter":
            self.with_chart = True
        else:
            self._choose(key)

    def _choose(self, key: str) -> None:
        match key:
            case "/":
                self.typing = True
            case "f":
                self.regime = _after(self.regime, ("all", *REGIMES))
            case "s":
                self.column = _after(self.column, COLUMNS)
                self.reversed = False
            case "r":
                self.reversed = not self.reversed
            case "i" if len(self.intervals) > 1:
                self.interval = _after(self.interval, self.intervals)
            case "escape" if self.text:
                self.text = ""
            case _:
                return
        self._mark_first()

    def chosen(self, markets: Iterable[Market], page: int) -> tuple[list[Market], int]:
        """The rows on a screen of `page` rows, and the total number of matching rows."""
        fitting = [market for market in markets if self._fits(market)]
        # Equal values are sorted by symbol, in either direction.
        fitting.sort(key=lambda market: market.record.symbol)
        fitting.sort(key=self.column.value, reverse=self.is_falling)
        self._move([market.record.symbol for market in fitting])
        self.first = min(max(self.first, self.marked - page + 1), self.marked)
        self.first = max(0, min(self.first, len(fitting) - page))
        return fitting[self.first : self.first + page], len(fitting)

    def _move(self, symbols: list[str]) -> None:
        """The mark stays in its row of the table; the chart stays with its symbol."""
        if self.with_chart and self.symbol in symbols:
            self.marked = symbols.index(self.symbol)
        self.marked = max(0, min(self.marked + self._rows_to_move, len(symbols) - 1))
        if self._rows_to_move or not (self.with_chart and self.symbol):
            self.symbol = symbols[self.marked] if symbols else ""
        self.with_chart = self.with_chart and self.symbol != ""
        self._rows_to_move = 0

    def _mark_first(self) -> None:
        self.first, self.marked, self.symbol, self._rows_to_move = 0, 0, "", 0

    @property
    def is_falling(self) -> bool:
        return self.column.falling != self.reversed

    def _fits(self, market: Market) -> bool:
        record = market.record
        return self.text.upper() in record.symbol.upper() and self.regime in ("all", record.regime)

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self.typing = False
            case "escape":
                self.text, self.typing = "", False
            case "backspace":
                self.text = self.text[:-1]
            case _ if len(key) == 1 and key.isprintable():
                self.text = (self.text + key)[:_LONGEST_FILTER]
            case _:
                return
        self._mark_first()


def _after(present: T, choices: Sequence[T]) -> T:
    return choices[(choices.index(present) + 1) % len(choices)]
