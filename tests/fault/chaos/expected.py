"""The correct result of an input, derived from its entries alone: the documented rules, literally.

It shares nothing with the worker, not even a decoder.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from tests.fault.chaos.history import Entry, as_bytes

YEAR_2000_MS = 946_684_800_000
A_YEAR_MS = 366 * 86_400_000


class Close(NamedTuple):
    symbol: str
    close_time_ms: int
    close: float


@dataclass
class Expected:
    closes: dict[str, list[Close]] = field(default_factory=dict)
    """For each symbol, the closes to apply, in order."""
    dead: dict[str, dict[str, str]] = field(default_factory=dict)
    """Entry id -> its fields."""
    counters: Counter[str] = field(default_factory=Counter)
    """All except `emitted`."""


def expected_of(inputs: Iterable[Entry], interval: str, interval_ms: int) -> Expected:
    expected = Expected()
    for entry_id, fields in inputs:
        found = reading(entry_id, fields, interval)
        if found == "dead":
            expected.dead[entry_id] = fields
            expected.counters["dead"] += 1
        elif found == "ignored":
            expected.counters["ignored"] += 1
        else:
            _take(expected, found, interval_ms)
    return expected


def _take(expected: Expected, close: Close, interval_ms: int) -> None:
    closes = expected.closes.setdefault(close.symbol, [])
    if closes:
        step_ms = close.close_time_ms - closes[-1].close_time_ms
        if step_ms <= 0:
            expected.counters["late" if step_ms else "duplicate"] += 1
            return
        expected.counters["gap"] += step_ms >= 2 * interval_ms
    closes.append(close)
    expected.counters["applied"] += 1


def reading(
    entry_id: str, fields: dict[str, str], interval: str
) -> Close | Literal["dead", "ignored"]:
    """What one entry is. It is dead if it cannot be read."""
    try:
        candle = _candle(fields)
        symbol, close, close_time_ms = (
            candle["symbol"],
            float(candle["close"]),
            candle["close_time"],
        )
        prices = [float(candle[name]) for name in ("open", "high", "low") if name in candle]
        close_time_ms = int(close_time_ms)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "dead"
    can_be_true = (
        isinstance(symbol, str)
        and symbol
        and all(math.isfinite(price) and price > 0 for price in (close, *prices))
        and YEAR_2000_MS <= close_time_ms <= int(entry_id.partition("-")[0]) + A_YEAR_MS
    )
    if not can_be_true:
        return "dead"
    if str(candle.get("is_closed", True)).lower() != "true":
        return "ignored"
    if candle.get("interval", interval) != interval:
        return "ignored"
    return Close(symbol, close_time_ms, close)


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
    names |= {"i": "interval", "x": "is_closed"}
    return {"symbol": document["s"]} | {names[k]: v for k, v in kline.items() if k in names}


def _decoded(raw: bytes) -> dict[str, Any]:
    document = msgspec.msgpack.decode(raw) if raw[:1] >= b"\x80" else json.loads(raw.decode())
    if not isinstance(document, dict):
        raise ValueError("not a map")
    return document
