"""One value of a candle cache: its close, its time and what that time means, and its flag.

A value is a number, a JSON object with `close` or `c`, a kline event, or an array as ccxt returns
it, `[time, open, high, low, close, volume]`. What it says about symbol and interval, and whether it
is closed, counts as in the stream.
"""

from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas.candle import MAX_DOCUMENT_BYTES
from schemas.closed import FLAGS, closed_by_flags, read_flag
from schemas.interval import interval_ms, read_interval
from schemas.times import time_ms

OPEN_NAMES: Final = ("open_time", "openTime", "t", "start")
CLOSE_NAMES: Final = ("close_time", "closeTime", "T", "end", "stop")
VAGUE_NAMES: Final = ("timestamp", "time", "ts", "date", "datetime")
NOT_CLOSED: Final = "not closed"
_COLUMNS: Final = 6
_SEPARATORS: Final = str.maketrans("", "", "/-_:")

Means = Literal["open", "close", "vague"]


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
    _check_symbol(found, symbol)
    flags = [(name, str(found[name])) for name in FLAGS if found.get(name) is not None]
    if closed_by_flags((name, read_flag(name, text)) for name, text in flags) is False:
        return LeftOut(NOT_CLOSED)
    interval = found.get("interval", found.get("i"))
    if isinstance(interval, str) and not _is_interval(interval, candle_interval_ms):
        return LeftOut(f"of the interval {interval[:20]!r}")
    ms, means = _time(found, candle_interval_ms)
    if ms is None and score is not None:
        ms = _ms(score)
    return Cached(_close(found.get("close", found.get("c")), value), ms, means)


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


def _check_symbol(found: dict[str, Any], symbol: str) -> None:
    for name in ("symbol", "s"):
        named = found.get(name)
        if isinstance(named, str) and _plain(named) != _plain(symbol):
            raise ValueError(f"it has values of the symbol {named[:80]!r} ({name!r})")


def _plain(symbol: str) -> str:
    return symbol.translate(_SEPARATORS).casefold()


def _is_interval(text: str, candle_interval_ms: int) -> bool:
    return interval_ms(read_interval(text) or "") == candle_interval_ms


def _time(found: dict[str, Any], candle_interval_ms: int) -> tuple[int | None, Means]:
    """By the names that say what they mean, if there are any."""
    closed, opened, vague = (_first(found, of) for of in (CLOSE_NAMES, OPEN_NAMES, VAGUE_NAMES))
    if opened and closed:
        length_ms = closed[1] - opened[1]
        if abs(length_ms - candle_interval_ms) > candle_interval_ms / 2:
            raise ValueError(
                f"it has values with {length_ms / 1_000:,g} s between {opened[0]!r} and "
                f"{closed[0]!r}; a candle has {candle_interval_ms / 1_000:,g} s"
            )
    if closed:
        return closed[1], "close"
    if opened:
        return opened[1], "open"
    return (vague[1] if vague else None), "vague"


def _first(found: dict[str, Any], names: tuple[str, ...]) -> tuple[str, int] | None:
    for name in names:
        if found.get(name) is not None:
            return name, _ms(found[name])
    return None


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
