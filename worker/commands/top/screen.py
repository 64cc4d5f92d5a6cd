"""One screen of `marketstate top`, as lines of rich text. It reads nothing and keeps no state.

All text is built as `Text`, never as rich markup: a symbol may look like markup.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from rich.text import Text

from marketstate.schemas.market_state import RegimeProbs
from marketstate.schemas.reader import is_stale
from marketstate.worker.commands.markets import Market, shown
from marketstate.worker.commands.options import of_interval
from marketstate.worker.commands.regime_words import REGIMES, throughout, what_regimes_are
from marketstate.worker.commands.top.chart import chart, sparkline
from marketstate.worker.commands.top.feed import View
from marketstate.worker.commands.top.selection import COLUMNS, STATES_SHOWN, Column, Look
from marketstate.worker.engine.invented import TITLE
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.settings import Settings

# Columns to drop, in this order, if the terminal is too narrow.
_DISPENSABLE: Final = ("recent sigma", "mu", "recent", "sigma", "t/mr/c %", "price", "ts", "held")
# The columns that are drawn, and what of a state they show.
_SPARKLINES: Final = {"recent": "close", "recent sigma": "sigma"}
_BAR: Final = "trend/mr/chop"
_SHORT_BAR: Final = "t/mr/chop"
_WIDEST_BAR: Final = 40
_NARROWEST_BAR: Final = 10
_LINES_BESIDE_ROWS: Final = 5
# So many seconds may pass before what waits is called late.
_LATE_S: Final = 10
_INTERVALS_KEY: Final = "i       show the states of the next interval"
_KEYS: Final = (
    "q  Ctrl-Z  quit; suspend",
    "?       these lines",
    "up  k   mark the row above; down, j: below; also Page up, Page down, Home, End",
    "Enter   chart of the marked symbol; up and down: of others; Enter, Esc: back",
    "/       show symbols with a part of their name; Esc shows all again",
    "f       show the next regime only",
    "s  r    sort by the next column; reverse",
    _INTERVALS_KEY,
    "",
    "t/mr/c  probabilities of trend, mr (vr far from 1) and chop",
    "ts      strength of the trend, with its direction, which is that of mu",
    "recent  the last 12 prices, on wide terminals; recent sigma: of sigma, on wider ones",
    "held    how long the regime has lasted; > where it began earlier than is known",
    "age     time since the close; ! if more than one state is overdue",
    "lag     entries that no worker has taken; red if the oldest waits for over 10 s",
)


class Marks(NamedTuple):
    """Characters that the terminal's encoding can show. They are readable without colour."""

    bar: tuple[str, str, str]
    falling: str
    rising: str
    levels: str
    """From low to high."""


UNICODE: Final = Marks(("█", "▒", "·"), "▼", "▲", "▁▂▃▄▅▆▇█")
ASCII: Final = Marks(("#", "=", "."), "v", "^", "_-=#")
# Distinguishable with red-green colour blindness, on dark and on light backgrounds.
_STYLES: Final = {"trend": "bright_blue", "mr": "dark_orange", "chop": ""}


def marks_for(encoding: str) -> Marks:
    try:
        "".join((*UNICODE.bar, UNICODE.falling, UNICODE.rising, UNICODE.levels)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def rows_on(height: int) -> int:
    return max(1, height - _LINES_BESIDE_ROWS)


class Screen:
    def __init__(self, settings: Settings, marks: Marks, where: str) -> None:
        """`where` names the Redis."""
        self._settings = settings
        self._marks = marks
        self._where = where

    def draw(self, view: View, look: Look, size: tuple[int, int], now_ms: float) -> Text:
        """`size` is (columns, lines)."""
        width, height = size
        rows, found = look.chosen(view.markets.values(), rows_on(height))
        some_are_missing = any(market.record.missing for market in view.markets.values())
        columns, bar = _layout(width, some_are_missing=some_are_missing)
        body = [self._row(market, columns, bar, now_ms) for market in rows]
        if body:
            marked = body[look.marked - look.first]
            marked.stylize("bold")
            # Not all of it: a bar in reverse would say the opposite.
            marked.stylize("reverse", 0, columns[0].width)
        else:
            body = [Text(self._why_empty(view, look), style="italic")]
        names = self._names(columns, bar, look)
        if look.with_chart and (market := view.markets.get(look.symbol)):
            names = Text(shown(market.record.symbol).ljust(width), style="reverse")
            found_lines = chart(
                market, (width, rows_on(height)), self._marks.levels, self._marks.bar
            )
            body = [Text(line) for line in found_lines[: rows_on(height)]]
        if look.with_help:
            meaning = what_regimes_are(self._settings.theta)
            keys = [key for key in _KEYS if key != _INTERVALS_KEY or len(look.intervals) > 1]
            lines_of_help = (*keys, f"        {meaning}", "", "any other key goes back")
            body = [Text(line) for line in lines_of_help[: rows_on(height)]]
        body += [Text()] * (rows_on(height) - len(body))
        lines = [
            _first_line(view, self._where, width, now_ms),
            _group_line(view),
            self._legend(view.markets.values(), look, len(rows), found, width),
            names,
            *body,
            _footer(look),
        ]
        for line in lines:
            line.truncate(width)
        return Text("\n", no_wrap=True, overflow="crop").join(lines[:height])

    def _legend(
        self, markets: Iterable[Market], look: Look, rows: int, found: int, width: int
    ) -> Text:
        every = list(markets)
        counts = Counter(market.record.regime for market in every)
        line = Text()
        for regime, mark in zip(REGIMES, self._marks.bar, strict=True):
            line.append(mark * 2, style=_STYLES[regime])
            line.append(f" {regime} {counts[regime]}   ")
        matching = f" with {look.text!r}" if look.text else ""
        place = f"{look.first + 1}-{look.first + rows} of {found}" if rows else "none"
        line.append(f"rows {place}{matching}")
        if len(counts) == 1 and all(map(_never_changed, every)):
            hint = f"   {throughout(shown(next(iter(counts))))}"
            # Where there is no room for what to do, there may be some for the fact.
            fits = line.cell_len + len(hint) <= width
            line.append(hint if fits else hint.partition(":")[0])
        return line

    def _names(self, columns: list[Column], bar: int, look: Look) -> Text:
        line = Text(style="reverse")
        for column in columns:
            if column.name == "regime" and bar:
                name = _BAR if bar >= len(_BAR) else _SHORT_BAR
                line.append(name.ljust(bar) + "  ")
            name = column.name
            if column is look.column:
                name = (self._marks.falling if look.is_falling else self._marks.rising) + name
            line.append(_cell(name, column)).append("  ")
        return line

    def _row(self, market: Market, columns: list[Column], bar: int, now_ms: float) -> Text:
        record = market.record
        line = Text()
        for column in columns:
            text, style = column.text(market, now_ms), ""
            if column.name == "regime":
                line.append(_bar(record.regime_probs, bar, self._marks))
                line.append("  " if bar else "")
                style = _STYLES.get(record.regime, "")
            elif column.name in _SPARKLINES:
                shown_of = _SPARKLINES[column.name]
                values = [getattr(state, shown_of) for state in market.recent[-STATES_SHOWN:]]
                text = sparkline(values, self._marks.levels)
            elif column.name == "ts":
                text = self._direction(record.mu) + text
            elif column.name == "age" and self._is_stale(market, now_ms):
                text, style = f"!{text}", "reverse"
            cell = _cell(text, column)
            cell.stylize(style)
            line.append(cell).append("  ")
        return line

    def _direction(self, mu: float) -> str:
        if mu == 0:
            return ""
        return self._marks.rising if mu > 0 else self._marks.falling

    def _is_stale(self, market: Market, now_ms: float) -> bool:
        return is_stale(market.record, now_ms, self._settings.publish_interval_ms)

    def _why_empty(self, view: View, look: Look) -> str:
        if not view.is_read:
            return f"reading the states of {look.interval} ..."
        if view.markets:
            return "no market matches the filter"
        settings = of_interval(self._settings, look.interval or None)
        return f"no states yet in {keys_of_all(settings).output_stream}"


def _never_changed(market: Market) -> bool:
    """Over all that is known of it."""
    return not market.since_known and len(market.recent) > 1


def _first_line(view: View, where: str, width: int, now_ms: float) -> Text:
    """Where it is too long, first our name goes, then the clock."""
    invented = sum(market.record.source == "synthetic" for market in view.markets.values())
    title = f" {TITLE}: {invented} of {len(view.markets)} symbols " if invented else ""
    first: list[str | tuple[str, str]] = [(title, "reverse bold"), "  "] if invented else []
    last: str | tuple[str, str] = (
        (f" retrying: {view.trouble} ", "reverse bold") if view.trouble else where
    )
    clock = time.strftime("%H:%M:%S UTC  ", time.gmtime(now_ms / 1_000))
    dispensable: tuple[str | tuple[str, str], ...] = (("marketstate  ", "bold"), clock)
    for dropped in range(len(dispensable) + 1):
        line = Text.assemble(*first, *dispensable[dropped:], last)
        if line.cell_len <= width:
            break
    return line


def _group_line(view: View) -> Text:
    status = view.status
    held = sum(worker.holds_shards for worker in status.workers) if status else None
    facts = {
        "workers": held,
        "lag": status.lag_in_words if status else None,
        "pending": status.pending if status else None,
        "candles/min": view.candles_per_min,
        "states/min": view.states_per_min,
    }
    line = Text()
    is_late = status is not None and status.lag > 0 and status.oldest_unfinished_s > _LATE_S
    for name, value in facts.items():
        if value is None:
            continue  # the reason needs the room
        line.append(f"{name} ")
        # White on red is also distinct without colour.
        style = "bold white on red" if name == "lag" and is_late else "bold"
        line.append(_in_figures(value), style=style)
        line.append("  ")
    if view.status_trouble:
        line.append(f"({view.status_trouble}) ")
    if view.is_behind:
        line.append("(catching up: not every state is shown) ")
    if view.unreadable:
        line.append(f"{view.unreadable} entries are not records of this version", style="reverse")
    return line


def _in_figures(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.0f}"


def _layout(width: int, *, some_are_missing: bool) -> tuple[list[Column], int]:
    """The columns that fit, and the width of the bar. Candles are seldom missing."""
    columns = [column for column in COLUMNS if column.name != "missing" or some_are_missing]
    for name in ("", *_DISPENSABLE):
        columns = [column for column in columns if column.name != name]
        room = width - sum(column.width + 2 for column in columns)
        if room >= _NARROWEST_BAR:
            return columns, min(room, _WIDEST_BAR)
    return columns, 0


def _cell(text: str, column: Column) -> Text:
    """Pad to the column's width on the screen, where some characters take two cells."""
    cell = Text(text)
    cell.truncate(column.width)
    fill = " " * (column.width - cell.cell_len)
    return cell.append(fill) if column.name in ("symbol", "regime") else Text(fill).append(cell)


def _bar(probs: RegimeProbs, width: int, marks: Marks) -> Text:
    bar = Text()
    for regime, mark, count in zip(REGIMES, marks.bar, _shares(probs, width), strict=True):
        bar.append(mark * count, style=_STYLES[regime])
    return bar


def _shares(probs: RegimeProbs, width: int) -> Iterator[int]:
    """Cell counts that add up to `width`: it rounds the ends of the bars, not their lengths."""
    start = 0
    total = 0.0
    for prob in (probs.trend, probs.mr, probs.chop):
        total += prob
        end = min(width, max(start, round(total * width)))
        yield end - start
        start = end


def _footer(look: Look) -> Text:
    if look.typing:
        return Text(f"filter: {look.text}_   Enter: keep  Esc: clear", style="reverse")
    if look.with_chart:
        return Text("q quit  ? keys  Enter back  up, down other symbols", style="reverse")
    several = f"i interval:{look.interval}  " if len(look.intervals) > 1 else ""
    return Text(
        f"q quit  ? keys  {several}Enter open  / filter  f regime:{look.regime}  "
        f"s sort:{look.column.name}  r reverse",
        style="reverse",
    )
