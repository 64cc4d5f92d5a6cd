"""The candle, and how one is made of an entry of the input stream.

`schemas/candle_forms.py` reads the forms that an entry may have. Only symbol, close, close time,
interval and the flags of `schemas/closed.py` count. What cannot be read of the other fields is left
out, and costs nobody a good close. The bytes are untrusted: every error becomes a `CandleRejected`
that a person can understand.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UNSET

from marketstate.schemas.candle_forms import CLOSED, flags_of, found_in, shown
from marketstate.schemas.closed import FLAGS, closed_by_flags, is_early
from marketstate.schemas.interval import length_ms
from marketstate.schemas.times import EARLIEST_MS, LATEST_MS

MAX_SYMBOL_CHARACTERS: Final = 64

# A closed candle cannot close after it was written; a single bad time would make all later candles
# of its symbol late. The default leaves room for wrong clocks.
MAX_AHEAD_MS: Final = 60_000

# When an entry was first written, if that was not when it came into this stream.
WRITTEN_MS: Final = "written_ms"
_WRITTEN_FIELD: Final = WRITTEN_MS.encode()
_WRITTEN: Final = re.compile(rb"[0-9]{1,15}")


class CandleRejected(ValueError):
    """An entry is not a valid candle; the text says what was found and what is expected."""


class Candle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candle. Times in milliseconds since 1970 (UTC), prices in the quote currency."""

    symbol: str
    close: float
    close_time: int
    interval: str | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    volume: float | None = None
    open_time: int | None = None
    is_closed: bool = True


class Update(Candle, frozen=True, kw_only=True, omit_defaults=True):
    """A candle without a flag, in an entry that was written before it closed."""

    is_closed: bool = False


def decode_candle(
    fields: Mapping[bytes, bytes],
    entry_ms: int,
    max_ahead_ms: int = MAX_AHEAD_MS,
    interval_ms: int = 60_000,
) -> Candle:
    """Decode the candle in an entry's `fields`; `entry_ms` is the time in the entry's id, and
    `interval_ms` the interval of candles that name none.

    Returns an Update for a candle without a flag that closes after it was written. Raises
    CandleRejected if there is no candle, or an impossible one: for example a closed candle that
    closes more than `max_ahead_ms` after it was written.
    """
    event_type = fields.get(b"event_type", b"market.klines")
    if event_type != b"market.klines":
        raise CandleRejected(f"event_type is {shown(event_type)}; expected 'market.klines'")
    if written := fields.get(_WRITTEN_FIELD):
        entry_ms = _written_ms(written, entry_ms, max_ahead_ms)
    try:
        found = found_in(fields)
    except ValueError as error:
        raise CandleRejected(str(error)) from None
    candle = _candle(found, entry_ms, max_ahead_ms, interval_ms)
    check_candle(candle, entry_ms, max_ahead_ms)
    return candle


def check_candle(candle: Candle, entry_ms: int, max_ahead_ms: int = MAX_AHEAD_MS) -> None:
    """Raise CandleRejected for an impossible candle; `entry_ms` is when it was written."""
    check_symbol(candle.symbol)
    if not 0.0 < candle.close < math.inf:
        raise CandleRejected(f"close is {candle.close!r}; a price must be finite and above 0")
    _check_close_time(candle, entry_ms, max_ahead_ms)


def encode_envelope(candle: Candle, *, source: str) -> dict[str, str | bytes]:
    """The fields of an input entry as the upstream publisher writes them (form 1)."""
    payload = msgspec.to_builtins(candle) | {
        "is_closed": candle.is_closed,
        "timestamp": candle.close_time,
    }
    return {
        "event_type": "market.klines",
        "payload": msgspec.json.encode(payload),
        "correlation_id": f"{candle.symbol}-{candle.close_time}",
        "timestamp": datetime.fromtimestamp(candle.close_time / 1000, UTC).isoformat(),
        "source": source,
        "trace_id": "",
    }


def _candle(found: Any, entry_ms: int, max_ahead_ms: int, interval_ms: int) -> Candle:
    kind, is_closed = Candle, True
    if (flags := flags_of(found)) != CLOSED:
        said = _said(flags)
        if said is not None:
            is_closed = said
        elif not _may_have_closed(found, entry_ms, max_ahead_ms, interval_ms):
            kind, is_closed = Update, False
    return kind(
        symbol=found.symbol,
        close=found.close,
        close_time=found.close_time,
        interval=found.interval,
        open=found.open,
        high=found.high,
        low=found.low,
        volume=found.volume,
        open_time=found.open_time,
        is_closed=is_closed,
    )


def _said(flags: tuple[Any, ...]) -> bool | None:
    named = zip(FLAGS, flags, strict=True)
    try:
        return closed_by_flags((name, flag) for name, flag in named if flag is not UNSET)
    except ValueError as error:
        raise CandleRejected(str(error)) from None


def _may_have_closed(found: Any, entry_ms: int, max_ahead_ms: int, interval_ms: int) -> bool:
    """Of a candle without a flag."""
    if not _has_time(entry_ms):
        return True
    close_time: int = found.close_time
    its_ms = interval_ms if found.interval is None else length_ms(found.interval)
    if not is_early(close_time, entry_ms, its_ms or interval_ms, max_ahead_ms):
        return True
    # One that is further ahead than its interval is not an update, but has a wrong time. Of another
    # interval, it concerns nobody.
    return its_ms == interval_ms and close_time - entry_ms > interval_ms + max_ahead_ms


def _has_time(entry_ms: int) -> bool:
    """An entry id that was set by hand holds no time to compare with."""
    return EARLIEST_MS <= entry_ms < LATEST_MS


def _written_ms(text: bytes, entry_ms: int, max_ahead_ms: int) -> int:
    if not _WRITTEN.fullmatch(text):
        raise CandleRejected(f"{WRITTEN_MS} is {shown(text)}; expected a time in milliseconds")
    written_ms = int(text)
    # Otherwise it would let in any close time.
    if written_ms > entry_ms + max_ahead_ms and _has_time(entry_ms):
        raise CandleRejected(
            f"{WRITTEN_MS} {written_ms} is {(written_ms - entry_ms) / 1_000:,.0f} s after the time "
            "of the entry itself; it is when a copied entry was first written"
        )
    return written_ms


@lru_cache(maxsize=65_536)
def check_symbol(symbol: str) -> None:
    """Raise CandleRejected for text that cannot become part of key names and of log lines."""
    if not 0 < len(symbol) <= MAX_SYMBOL_CHARACTERS or not symbol.isprintable() or " " in symbol:
        raise CandleRejected(
            f"symbol {symbol[:80]!r} is not 1 to {MAX_SYMBOL_CHARACTERS} printable characters "
            "without spaces"
        )


def _check_close_time(candle: Candle, entry_ms: int, max_ahead_ms: int) -> None:
    close_time_ms = candle.close_time
    if close_time_ms < EARLIEST_MS:
        raise CandleRejected(
            f"close_time {close_time_ms} is before the year 2000; "
            "it must be in milliseconds (is it in seconds?)"
        )
    if close_time_ms > LATEST_MS:
        raise CandleRejected(
            f"close_time {close_time_ms} is after the year 2100; it must be in milliseconds"
        )
    ahead_ms = close_time_ms - entry_ms
    if candle.is_closed and ahead_ms > max_ahead_ms and _has_time(entry_ms):
        raise CandleRejected(
            f"close_time {close_time_ms} is {ahead_ms / 1_000:,.0f} s after the entry was written; "
            f"a closed candle may be at most {max_ahead_ms / 1_000:g} s ahead: see the clock of "
            "its writer"
        )
