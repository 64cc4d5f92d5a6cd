"""Whether the states published for a symbol follow from its closes: which ones, in which order, and
every number, recomputed by the slow oracle.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

from tests.fault.chaos.expected import Close
from tests.fault.chaos.history import Entry
from tests.support.oracle import oracle_state

RELATIVE: Final = 1e-9
# Logarithms of different libraries may differ in the last bit: by 9e-16 for those of prices.
ABSOLUTE: Final = 1e-13
FEW: Final = 3
REGIMES: Final = ("trend", "mr", "chop")


class Symbol(NamedTuple):
    """Everything about one symbol, small enough to send to another process."""

    name: str
    closes: list[Close]
    outputs: list[Entry]
    state: dict[str, str] | None
    settings: dict[str, Any]


def due(closes: list[Close], needed: int, publish_interval_ms: int) -> list[int]:
    """The indexes of the closes that are emitted."""
    indexes, last_ms = [], 0
    for i, close in enumerate(closes):
        if i + 1 >= needed and close.close_time_ms - last_ms >= publish_interval_ms:
            indexes.append(i)
            last_ms = close.close_time_ms
    return indexes


def needed_closes(theta: dict[str, Any]) -> int:
    longest = max(theta["vol"]["window"], *theta["trend"]["windows"], theta["regime"]["window"])
    return int(longest) + 1


def check_symbol(symbol: Symbol) -> list[str]:
    """Violations, as text."""
    settings = symbol.settings
    index_of = {
        symbol.closes[i].close_time_ms: i
        for i in due(
            symbol.closes, needed_closes(settings["theta"]), settings["publish_interval_ms"]
        )
    }
    found = [f"{symbol.name}: {text}" for text in _sequence(list(index_of), symbol.outputs)]
    last: tuple[int, dict[str, str]] | None = None
    for entry_id, fields in symbol.outputs:
        at_ms = _close_time_ms(fields)
        if at_ms in index_of:
            state_fields, stream_fields = _texts(symbol, index_of[at_ms], fields.get("record", ""))
            where = f"{symbol.name}: output {entry_id}, close time {at_ms}"
            found += _in_one(where, stream_fields.differences(fields))
            if last is None or at_ms > last[0]:
                last = at_ms, fields
                final = state_fields
    if last is None:
        return found + [f"{symbol.name}: has a state, but nothing was due"] * bool(symbol.state)
    if not symbol.state:
        return [*found, f"{symbol.name}: the state is missing"]
    where = f"{symbol.name}: the state does not equal the last emission"
    return found + _in_one(where, final.differences(symbol.state))


def _in_one(where: str, differences: Iterator[str]) -> list[str]:
    texts = list(differences)
    more = f"; and {len(texts) - FEW} more" if len(texts) > FEW else ""
    return [f"{where}: {'; '.join(texts[:FEW])}{more}"] if texts else []


def _sequence(expected: list[int], outputs: list[Entry]) -> Iterator[str]:
    actual = [_close_time_ms(fields) for _, fields in outputs]
    times = Counter(actual)
    for at_ms in expected:
        if times[at_ms] == 0:
            yield f"the emission of close time {at_ms} is lost"
        elif times[at_ms] > 1:
            yield f"close time {at_ms} was emitted {times[at_ms]} times"
    for at_ms in sorted(times.keys() - set(expected)):
        yield f"close time {at_ms} was emitted, but was not due"
    for before, after in pairwise(actual):
        if after < before:
            yield f"out of order: close time {after} was emitted after {before}"


class _Texts(NamedTuple):
    """The correct fields: for each, the set of allowed texts."""

    allowed: dict[str, set[str]]
    record_differences: list[str]

    def differences(self, fields: dict[str, str]) -> Iterator[str]:
        if fields.keys() != self.allowed.keys():
            yield f"has the fields {sorted(fields)}, expected {sorted(self.allowed)}"
            return
        for name, texts in self.allowed.items():
            if fields[name] not in texts:
                yield f"{name} is {fields[name]!r}, expected {' or '.join(sorted(texts))}"
        yield from self.record_differences


def _texts(symbol: Symbol, index: int, record: str) -> tuple[_Texts, _Texts]:
    """The texts of the hash and of the stream entry after the close at `index`."""
    expected = expected_record(symbol, index)
    try:
        differences = list(_differences(expected, json.loads(record), "record"))
    except ValueError:
        differences = [f"the record is not valid JSON: {record[:100]!r}"]
    probs, features = expected["regime_probs"], expected["features"]
    six = {
        "ts": expected["ts"],
        "p_trend": probs["trend"],
        "p_mr": probs["mr"],
        "p_chop": probs["chop"],
        **features,
    }
    texts = {name: rounded(value, 6) for name, value in six.items()}
    texts |= {name: rounded(expected[name], 8) for name in ("sigma", "mu")}
    seconds = {str(expected["close_time_ms"] // 1_000)}
    in_hash = texts | {
        "ts_timestamp": seconds,
        "buffer_size": {str(expected["buffer_size"])},
        "record": {record},
    }
    in_stream = {name: texts[name] for name in ("ts", "sigma", "mu")} | {
        "symbol": {symbol.name},
        "regime": {expected["regime"]},
        "timestamp": seconds,
        "record": {record},
    }
    return _Texts(in_hash, differences), _Texts(in_stream, differences)


def rounded(value: float, decimals: int) -> set[str]:
    """The text of a number: a single one, unless it is within tolerance of a rounding boundary."""
    slack = max(ABSOLUTE, RELATIVE * abs(value))
    return {f"{near:.{decimals}f}" for near in (value - slack, value, value + slack)}


def expected_record(symbol: Symbol, index: int) -> dict[str, Any]:
    settings = symbol.settings
    size = settings["window_size"]
    closes = [close.close for close in symbol.closes[max(0, index + 1 - size) : index + 1]]
    state = oracle_state(closes, settings["theta"])
    assert state is not None, "a state is only due after enough closes"
    probs = state["regime_probs"]
    return {
        "schema": 1,
        "symbol": symbol.name,
        "interval": settings["interval"],
        "source": "candles",
        "close_time_ms": symbol.closes[index].close_time_ms,
        "close": symbol.closes[index].close,
        **state,
        "regime": max(REGIMES, key=lambda name: probs[name]),
        "buffer_size": len(closes),
        "theta_hash": theta_hash(settings["theta"]),
        "reason": "interval",
    }


def theta_hash(theta: dict[str, Any]) -> str:
    canonical = json.dumps(theta, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _differences(expected: Any, actual: Any, path: str) -> Iterator[str]:
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or expected.keys() != actual.keys():
            yield f"{path} is {actual!r:.200}, expected the names {sorted(expected)}"
            return
        for name, value in expected.items():
            yield from _differences(value, actual[name], f"{path}.{name}")
    elif isinstance(expected, float) and path != "record.close":
        number = isinstance(actual, int | float)
        if not number or not math.isclose(expected, actual, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            yield f"{path} is {actual!r}, expected {expected!r}"
    elif expected != actual:
        yield f"{path} is {actual!r}, expected {expected!r}"


def _close_time_ms(fields: dict[str, str]) -> int:
    """-1, at which nothing is due, if there is no close time."""
    try:
        return int(json.loads(fields["record"])["close_time_ms"])
    except (ValueError, KeyError, TypeError):
        return -1
