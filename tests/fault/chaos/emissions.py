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

from tests.fault.chaos.expected import Due, Symbol, needed_closes
from tests.fault.chaos.history import Entry
from tests.support.oracle import oracle_state

RELATIVE: Final = 1e-9
# Logarithms of different libraries may differ in the last bit: by 9e-16 for those of prices.
ABSOLUTE: Final = 1e-13
FEW: Final = 3
REGIMES: Final = ("trend", "mr", "chop")
# In the order in which the hash must have them.
IN_HASH: Final = (
    *("sigma", "mu", "ts", "p_trend", "p_mr", "p_chop", "dp", "vr", "spike_proxy"),
    *("ts_timestamp", "buffer_size"),
)


class Published(NamedTuple):
    """Everything about one symbol, small enough to send to another process."""

    name: str
    expected: Symbol
    outputs: list[Entry]
    state: dict[str, str] | None
    record: str | None
    settings: dict[str, Any]
    may_expire: bool = False
    """Whether it may have been silent for so long that its state is gone."""


def check_symbol(symbol: Published) -> list[str]:
    """Violations, as text."""
    closes = symbol.expected.closes
    due_at = {closes[due.last].close_time_ms: due for due in symbol.expected.due}
    found = [f"{symbol.name}: {text}" for text in _sequence(list(due_at), symbol.outputs)]
    last: tuple[int, dict[str, str]] | None = None
    for entry_id, fields in symbol.outputs:
        at_ms = _close_time_ms(fields)
        if at_ms in due_at:
            state_fields, stream_fields = _texts(symbol, due_at[at_ms], fields.get("record", ""))
            where = f"{symbol.name}: output {entry_id}, close time {at_ms}"
            found += _in_one(where, stream_fields.differences(fields))
            if last is None or at_ms > last[0]:
                last = at_ms, fields
                final = state_fields
    if last is None:
        there = bool(symbol.state or symbol.record)
        return found + [f"{symbol.name}: has a state, but nothing was due"] * there
    return [*found, *(f"{symbol.name}: {text}" for text in _latest(symbol, final, last[1]))]


def _latest(symbol: Published, final: "_Texts", last: dict[str, str]) -> Iterator[str]:
    """The hash, and the record beside it, against the last emission."""
    if not symbol.state and not symbol.record and symbol.may_expire:
        return
    if not symbol.state:
        yield "the state is missing"
    else:
        where = "the state does not equal the last emission"
        yield from _in_one(where, final.differences(symbol.state))
        if list(symbol.state) != list(IN_HASH):
            yield f"the state has its fields in the order {list(symbol.state)}"
    if symbol.record is None:
        yield "the record is missing"
    elif symbol.record != last.get("record"):
        yield f"the record does not equal that of the last emission: {symbol.record[:100]!r}"


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


def _texts(symbol: Published, due: Due, record: str) -> tuple[_Texts, _Texts]:
    """The texts of the hash and of the stream entry for a state that is due."""
    expected = expected_record(symbol, due)
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


def expected_record(symbol: Published, due: Due) -> dict[str, Any]:
    settings = symbol.settings
    first = max(due.first, due.last + 1 - settings["window_size"])
    window = symbol.expected.closes[first : due.last + 1]
    closes = [close.close for close in window]
    state = oracle_state(closes, settings["theta"])
    assert state is not None, "a state is only due after enough closes"
    probs = state["regime_probs"]
    needed, interval_ms = needed_closes(settings["theta"]), settings["interval_ms"]
    span_ms = window[-1].close_time_ms - window[-needed].close_time_ms
    return {
        "schema": 1,
        "symbol": symbol.name,
        "interval": settings["interval"],
        "source": "candles",
        "close_time_ms": window[-1].close_time_ms,
        "close": window[-1].close,
        **state,
        "regime": max(REGIMES, key=lambda name: probs[name]),
        "buffer_size": len(closes),
        "theta_hash": theta_hash(settings["theta"]),
        "reason": "interval",
        "missing": max(0, (span_ms + interval_ms // 2) // interval_ms + 1 - needed),
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
