"""The correct result of an input: the documented rules, literally, entry by entry.

It shares nothing with the worker, not even a decoder. What only Redis can tell is taken from there:
which entries are dead letters because their symbol was set aside, and which were lost after
somebody had read them without a trace. The checker looks at both.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tests.fault.chaos.history import Entry, History, as_bytes, id_of

YEAR_2000_MS: Final = 946_684_800_000
YEAR_2100_MS: Final = 4_102_444_800_000
MOST_BYTES: Final = 65_536
MOST_NESTED: Final = 256
MOST_CHARACTERS: Final = 64
QUARANTINED: Final = "quarantined: "
FLAGS: Final = (
    *("is_closed", "isClosed", "closed", "confirm", "x"),
    *("is_final", "isFinal", "final", "complete"),
)
FLAG_VALUES: Final = {"true": True, "1": True, "false": False, "0": False}


class Close(NamedTuple):
    symbol: str
    close_time_ms: int
    close: float


class Due(NamedTuple):
    """A state to publish: after the close number `last`, from a window that begins at `first`."""

    last: int
    first: int


@dataclass
class Symbol:
    """What follows from the entries of a symbol."""

    closes: list[Close] = field(default_factory=list)
    """All that are applied, in order."""
    due: list[Due] = field(default_factory=list)
    first: int = 0
    """Where the window begins that it has now."""
    last_ms: int = 0
    """Only later candles are applied."""
    mark_ms: int = 0
    """The close time of the last state."""
    lost_its_window: bool = False
    longer: "dict[str, Symbol]" = field(default_factory=dict)
    """The same of each longer interval."""
    pending: Close | None = None
    """The last close; of the candles of longer intervals that it belongs to, the last so far."""
    breaks: list[int] = field(default_factory=list)
    """Of a longer interval: before these closes, one may be missing, because somebody has removed
    the window that had its close.
    """

    @property
    def last_close(self) -> float | None:
        """The close at `last_ms`; None if the window that has it was removed."""
        has_it = self.first < len(self.closes) and self.closes[-1].close_time_ms == self.last_ms
        return self.closes[-1].close if has_it else None


@dataclass
class Expected:
    symbols: dict[str, Symbol] = field(default_factory=dict)
    """Those with a close."""
    dead: dict[str, dict[str, str]] = field(default_factory=dict)
    """Entry id -> its fields."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Entry id -> symbol; they are among the dead, too."""
    sleepers: set[str] = field(default_factory=set)
    """Symbols that may have been retired since their last candle."""
    counters: Counter[str] = field(default_factory=Counter)


def expected_of(history: History) -> Expected:
    return _Reader(history).read()


class _Reader:
    def __init__(self, history: History) -> None:
        self._history = history
        self._settings = history.settings
        self._needed = needed_closes(history.settings["theta"])
        self._expected = Expected()
        self._set_aside = {
            fields.get("source_id", "")
            for _, fields in history.dead
            if fields.get("error", "").startswith(QUARANTINED)
        }
        self._taken = {symbol for note in history.notes for symbol in note.get("taken", ())}
        self._starting_over: dict[str, list[dict[str, Any]]] = {}
        for note in history.notes:
            if note["what"] in ("window starts over", "mark starts over"):
                self._starting_over.setdefault(note["symbol"], []).append(note)

    def read(self) -> Expected:
        start = id_of(self._settings["start_id"])
        for entry in self._history.inputs:
            if id_of(entry[0]) > start:
                self._take(entry)
        for note in self._history.notes:
            self._expected.sleepers.update(note.get("sleepers", ()))
        for name, symbol in self._expected.symbols.items():
            self._start_over(name, symbol, until=None)
        return self._expected

    def _take(self, entry: Entry) -> None:
        entry_id, fields = entry
        counters = self._expected.counters
        found = reading(entry_id, fields, self._settings)
        if found == "dead":
            self._expected.dead[entry_id] = fields
            counters["dead"] += 1
        elif isinstance(found, str):
            counters[found] += 1
        elif found.symbol in self._taken and found.symbol not in self._history.windows:
            counters["lost"] += 1
        elif entry_id in self._set_aside:
            self._expected.dead[entry_id] = fields
            self._expected.quarantined[entry_id] = found.symbol
            counters.update(["dead", "quarantined"])
        else:
            self._apply(id_of(entry_id), found)

    def _apply(self, entry_id: tuple[int, int], close: Close) -> None:
        symbols, counters = self._expected.symbols, self._expected.counters
        symbol = symbols.get(close.symbol) or Symbol()
        self._start_over(close.symbol, symbol, until=entry_id)
        step_ms, interval_ms = close.close_time_ms - symbol.last_ms, self._settings["interval_ms"]
        if symbol.last_ms and abs(step_ms) < interval_ms / 2:
            known = symbol.last_close
            counters["duplicate" if known in (None, close.close) else "revised"] += 1
            return
        if step_ms < 0:
            counters["late"] += 1
            return
        if symbol.last_ms and step_ms >= self._settings["retire_after_ms"]:
            _forget(symbol)
            symbol.pending = None
            for longer in symbol.longer.values():
                _forget(longer)
        elif symbol.last_ms and (missing := self._candles(step_ms) - 1) > 0:
            counters["gap"] += 1
            if missing > self._needed:
                counters["restarted"] += 1
                _forget(symbol)
        counters["window_lost"] += symbol.lost_its_window
        counters["applied"] += 1
        symbol.lost_its_window = False
        symbol.closes.append(close)
        symbol.last_ms = close.close_time_ms
        symbols[close.symbol] = symbol
        self._emit(symbol, close, interval_ms, "emitted")
        for name, longer_ms in self._settings["longer"].items():
            for ended in _ended(symbol.pending, close, longer_ms):
                self._add(symbol.longer.setdefault(name, Symbol()), ended, name, longer_ms)
        symbol.pending = close

    def _add(self, longer: Symbol, close: Close, name: str, interval_ms: int) -> None:
        """A candle of a longer interval."""
        step_ms = close.close_time_ms - longer.last_ms
        if longer.last_ms and step_ms < interval_ms / 2:
            return
        if longer.last_ms and (missing := self._candles(step_ms, interval_ms) - 1) > 0:
            self._expected.counters[f"gap.{name}"] += 1
            if missing > self._needed or step_ms >= self._settings["retire_after_ms"]:
                self._expected.counters[f"restarted.{name}"] += 1
                _forget(longer)
        longer.closes.append(close)
        longer.last_ms = close.close_time_ms
        self._emit(longer, close, interval_ms, f"emitted.{name}")

    def _emit(self, symbol: Symbol, close: Close, interval_ms: int, counter: str) -> None:
        candles = self._candles(close.close_time_ms - symbol.mark_ms, interval_ms)
        is_due = candles * interval_ms >= self._settings["publish_interval_ms"]
        if is_due and len(symbol.closes) - symbol.first >= self._needed:
            symbol.due.append(Due(len(symbol.closes) - 1, symbol.first))
            symbol.mark_ms = close.close_time_ms
            self._expected.counters[counter] += 1

    def _candles(self, ms: int, interval_ms: int | None = None) -> int:
        """How many intervals these are: of two feeds, one may be a little later."""
        interval_ms = interval_ms or int(self._settings["interval_ms"])
        return (ms + interval_ms // 2) // interval_ms

    def _start_over(self, name: str, symbol: Symbol, until: tuple[int, int] | None) -> None:
        """What has happened to the symbol before this entry, or before the end."""
        notes = self._starting_over.get(name, [])
        while notes and (until is None or id_of(notes[0]["finished"]) < until):
            _removed(symbol, notes.pop(0)["what"])


def _ended(pending: Close | None, close: Close, longer_ms: int) -> Iterator[Close]:
    """The candles of a longer interval that end with a close of 1m."""
    minute = _minute(close.close_time_ms)
    if pending:
        last_minute = _minute(pending.close_time_ms)
        if last_minute >= minute:
            return
        if last_minute % longer_ms and -(-last_minute // longer_ms) < -(-minute // longer_ms):
            end_ms = -(-last_minute // longer_ms) * longer_ms
            yield pending._replace(close_time_ms=end_ms + pending.close_time_ms - last_minute)
    if minute % longer_ms == 0:
        yield close


def _minute(close_time_ms: int) -> int:
    """The full minute that a close time means, in ms."""
    return (close_time_ms + 30_000) // 60_000 * 60_000


def _forget(symbol: Symbol) -> None:
    """It may have been retired by now, or its prices are no history, so it is a new one."""
    symbol.first = len(symbol.closes)
    symbol.last_ms = symbol.mark_ms = 0
    symbol.lost_its_window = False


def _removed(symbol: Symbol, what: str) -> None:
    """Somebody has removed the window, or the emission mark. A window that is lost lets in nothing
    that is older than the last state.
    """
    if what == "window starts over":
        symbol.first = len(symbol.closes)
        symbol.last_ms = symbol.mark_ms
        symbol.lost_its_window = symbol.mark_ms > 0
        symbol.pending = None
        for longer in symbol.longer.values():
            longer.breaks.append(len(longer.closes))
    else:
        symbol.mark_ms = 0
        symbol.lost_its_window = False
        if symbol.first == len(symbol.closes):
            symbol.last_ms = 0


def needed_closes(theta: dict[str, Any]) -> int:
    longest = max(theta["vol"]["window"], *theta["trend"]["windows"], theta["regime"]["window"])
    return int(longest) + 1


def reading(
    entry_id: str, fields: dict[str, str], settings: dict[str, Any]
) -> Close | Literal["dead", "ignored", "unclosed"]:
    """What one entry is. It is dead if it cannot be read."""
    try:
        candle = _candle(fields)
        symbol, close, close_time_ms = (
            candle["symbol"],
            float(candle["close"]),
            candle["close_time"],
        )
        close_time_ms = int(close_time_ms)
        told = {name: str(candle[name]).lower() for name in FLAGS if candle.get(name) is not None}
        if told.get("x") not in FLAG_VALUES:
            told.pop("x", None)
        flags = {FLAG_VALUES[text] for text in told.values()}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "dead"
    can_be_true = (
        _is_a_name(symbol)
        and math.isfinite(close)
        and close > 0
        and YEAR_2000_MS <= close_time_ms <= YEAR_2100_MS
        and len(flags) < 2
    )
    if not can_be_true:
        return "dead"
    is_ours = candle.get("interval", settings["interval"]) == settings["interval"]
    is_closed = _has_closed(close_time_ms - id_of(entry_id)[0], flags, is_ours, settings)
    if is_closed is None:
        return "dead"
    if not is_ours:
        return "ignored"
    return Close(symbol, close_time_ms, close) if is_closed else "unclosed"


def _has_closed(
    ahead_ms: int, flags: set[bool], is_ours: bool, settings: dict[str, Any]
) -> bool | None:
    """None if a closed candle cannot be so far ahead of its entry."""
    most_ms = settings["max_ahead_ms"]
    if False in flags:
        return False
    if not flags and ahead_ms > min(most_ms, settings["interval_ms"] / 20):
        return False if not is_ours or ahead_ms <= settings["interval_ms"] + most_ms else None
    return True if ahead_ms <= most_ms else None


def _is_a_name(symbol: object) -> bool:
    """It becomes part of the names of keys."""
    if not isinstance(symbol, str) or not 0 < len(symbol) <= MOST_CHARACTERS:
        return False
    return symbol.isprintable() and " " not in symbol


def _candle(fields: dict[str, str]) -> dict[str, Any]:
    """The names and values of a candle in any form. Raises ValueError."""
    if fields.get("event_type", "market.klines") != "market.klines":
        raise ValueError("another event")
    text = fields.get("payload", fields.get("data"))
    if text is None:
        return dict(fields)
    document: dict[str, Any] = _decoded(as_bytes(text))
    document = document.get("data", document)
    if "e" not in document:
        return document
    kline = document["k"]
    names = {"o": "open", "h": "high", "l": "low", "c": "close", "T": "close_time"}
    names |= {"i": "interval", "x": "x"}
    return {"symbol": document["s"]} | {names[k]: v for k, v in kline.items() if k in names}


def _decoded(raw: bytes) -> dict[str, Any]:
    if len(raw) > MOST_BYTES or raw.count(b"[") + raw.count(b"{") > MOST_NESTED:
        raise ValueError("too much")
    document = msgspec.msgpack.decode(raw) if raw[:1] >= b"\x80" else json.loads(raw.decode())
    if not isinstance(document, dict):
        raise ValueError("not a map")
    return document
