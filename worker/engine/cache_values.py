"""One value of a candle cache: its close, its time and what that time means, and its flag.

A value is a number, a JSON object with `close` or `c`, a kline event, or an array as ccxt returns
it, `[time, open, high, low, close, volume]`. What it says about symbol and interval, and whether it
is closed, counts as in the stream.
"""

from typing import Any, Final, Literal, NamedTuple

import msgspec

from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES
from marketstate.schemas.closed import FLAGS, closed_by_flags
from marketstate.schemas.interval import length_ms
from marketstate.schemas.symbol import plain
from marketstate.schemas.times import time_ms

_ROLES: Final = {
    "open": ("open_time", "openTime", "t", "start"),
    "close": ("close_time", "closeTime", "T", "end", "stop"),
    "vague": ("timestamp", "time", "ts", "date", "datetime"),
    "symbol": ("symbol", "s"),
    "interval": ("interval", "i"),
    "flag": FLAGS,
}
_ROLE_OF: Final = {name: role for role, names in _ROLES.items() for name in names}
NOT_CLOSED: Final = "not closed"
_COLUMNS: Final = 6

Means = Literal["open", "close", "vague"]
_EXACT: Final[tuple[Means, ...]] = ("close", "open")
_VAGUE: Final[tuple[Means, ...]] = ("vague",)


class Cached(NamedTuple):
    close: float
    time_ms: int | None = None
    means: Means = "vague"
    """Whether the time is that of the open or of the close, as far as its name says so."""
    fits_columns: bool = True
    """False for an array whose high is below its open or close, or its low above."""
    is_bare: bool = False
    """Only a price."""


class LeftOut(NamedTuple):
    """A value that does not count, though nothing is wrong with it."""

    why: str


def read_value(
    value: bytes, score: float | None, symbol: str, candle_interval_ms: int
) -> Cached | LeftOut:
    """What the cache of this symbol has in one value; `score` is that of a sorted set.

    Raises ValueError for what makes the whole cache doubtful: a value that cannot be read, or that
    is of another symbol.
    """
    if len(value) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a value has {len(value):,} bytes")
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError(f"the value {value[:80]!r} is neither a number nor JSON") from None
    if isinstance(found, list):
        return _of_array(found, value)
    if not isinstance(found, dict):
        ms = None if score is None else _ms(score)
        return Cached(_close(found, value), ms, is_bare=True)
    found = _candle_in(found)
    told = _by_role(found)
    for name, named in told.get("symbol", {}).items():
        if isinstance(named, str) and plain(named) != plain(symbol):
            raise ValueError(f"it has values of the symbol {named[:80]!r} ({name!r})")
    if closed_by_flags(told.get("flag", {}).items()) is False:
        return LeftOut(NOT_CLOSED)
    for interval in told.get("interval", {}).values():
        if isinstance(interval, str) and length_ms(interval) != candle_interval_ms:
            return LeftOut(f"of the interval {interval[:20]!r}")
    ms, means = _time(told, candle_interval_ms)
    if ms is None and score is not None:
        ms = _ms(score)
    return Cached(_close(found.get("close", found.get("c")), value), ms, means)


def _by_role(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is known by name, except what is null: by role, then by name."""
    told: dict[str, dict[str, Any]] = {}
    for name, each in found.items():
        role = _ROLE_OF.get(name)
        if role is not None and each is not None:
            told.setdefault(role, {})[name] = each
    return told


def _of_array(found: list[Any], value: bytes) -> Cached:
    if len(found) != _COLUMNS:
        raise ValueError(
            f"the value {value[:80]!r} is an array of {len(found)}; expected "
            "[time, open, high, low, close, volume]"
        )
    opened, high, low, close = (_close(each, value) for each in found[1:5])
    fits = high >= max(opened, close) and low <= min(opened, close)
    return Cached(close, _ms(found[0]), fits_columns=fits)


def _candle_in(found: dict[str, Any]) -> dict[str, Any]:
    """The candle itself, without the wrappers of a kline event."""
    if isinstance(found.get("data"), dict):
        found = found["data"]
    if isinstance(found.get("k"), dict):
        found = {"s": found.get("s")} | found["k"]
    return found


def _time(told: dict[str, dict[str, Any]], candle_interval_ms: int) -> tuple[int | None, Means]:
    """By the names that say what they mean, if there are any."""
    times: dict[Means, tuple[str, int]] = {}
    exact = "open" in told or "close" in told
    for means in _EXACT if exact else _VAGUE:
        for name, time in told.get(means, {}).items():
            ms = _ms(time)
            before, before_ms = times.setdefault(means, (name, ms))
            if 2 * abs(ms - before_ms) >= candle_interval_ms:
                raise ValueError(f"{before!r} and {name!r} of its values are different times")
    if len(times) == 2:
        (closed, closed_ms), (opened, opened_ms) = times["close"], times["open"]
        length_ms = closed_ms - opened_ms
        if 2 * abs(length_ms - candle_interval_ms) > candle_interval_ms:
            raise ValueError(
                f"it has values with {length_ms / 1_000:,g} s between {opened!r} and {closed!r}; "
                f"a candle has {candle_interval_ms / 1_000:,g} s"
            )
    for means, (_, ms) in times.items():
        return ms, means
    return None, "vague"


def _ms(time: object) -> int:
    if isinstance(time, str):
        return time_ms(time)
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise ValueError(f"{str(time)[:40]!r} is not a time")
    return time_ms(f"{time:.3f}" if isinstance(time, float) else str(time))


def _close(found: object, value: bytes) -> float:
    try:
        close: float = msgspec.convert(found, float, strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"the value {value[:80]!r} has no close") from None
    if not 0 < close < float("inf"):
        raise ValueError(f"the close {close!r} is not finite and above 0")
    return close
