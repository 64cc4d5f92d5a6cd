"""The candle: how one entry of the input stream is decoded, in each form that it may have.

An entry is a map of fields. The fields alone determine its form:

1. `payload` (or `data`) holds the upstream publisher's JSON candle;
2. neither field exists: `symbol`, `close`, `close_time` and the rest are fields of the entry;
3. `payload` or `data` holds a raw Binance kline event, alone or in the combined-stream wrapper;
4. `payload` or `data` holds our own `Candle` as JSON or MessagePack;
5. neither field exists, and the candle has `start`, `stop` and `closed`: see
   `schemas/cryptofeed.py`.

Only symbol, close, close time, interval and the flags of `schemas/closed.py` count. What cannot be
read of the other fields is left out, and costs nobody a good close.

`worker/lua/symbol.lua` finds the symbol by the same rules; change both together. The bytes are
untrusted: their size is checked before they are parsed, and every error becomes a
`CandleRejected` that a person can understand.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, astuple

from schemas.closed import FLAGS, MAY_BE_ELSE, closed_by_flags, is_early
from schemas.cryptofeed import in_our_names, is_of_cryptofeed
from schemas.interval import length_ms
from schemas.times import EARLIEST_MS, LATEST_MS

MAX_DOCUMENT_BYTES: Final = 65_536
MAX_NESTED: Final = 256
MAX_SYMBOL_CHARACTERS: Final = 64

# A plausible time in seconds, read as milliseconds, falls in early 1970.
EARLIEST_CLOSE_TIME_MS: Final = EARLIEST_MS
LATEST_CLOSE_TIME_MS: Final = LATEST_MS
# A closed candle cannot close after it was written; a single bad time would make all later candles
# of its symbol late. The default leaves room for wrong clocks.
MAX_AHEAD_MS: Final = 60_000

_MESSAGEPACK_MAP_STARTS: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
# What worker/lua/symbol.lua takes for the symbol without reading the rest.
_LEADING_SYMBOL: Final = re.compile(rb'{"symbol": ?"([^"\\]+)"')
_NOT_A_NUMBER: Final = re.compile(rb":\s*-?(NaN|Infinity)")
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


_OPTIONAL: Final = dict.fromkeys(("open", "high", "low", "volume"), float | None) | {
    "open_time": int | None
}
_NEEDED: Final = ("symbol", "close", "close_time", "interval")
_WITH_FLAGS: Final[list[Any]] = [
    *(("symbol", str), ("close", float), ("close_time", int), ("interval", str | None, None)),
    *((flag, Any if flag == MAY_BE_ELSE else bool | None | UnsetType, UNSET) for flag in FLAGS),
]
_Bare: Final[Any] = msgspec.defstruct("_Bare", _WITH_FLAGS, frozen=True)
"""Of a candle that has optional fields which cannot be read."""
_Whole: Final[Any] = msgspec.defstruct(
    "_Whole",
    [*_WITH_FLAGS, *((name, _OPTIONAL[name], None) for name in _OPTIONAL)],
    frozen=True,
)
# In MessagePack without unknown fields: the reader in symbol.lua does not support all of
# MessagePack, and after an unknown field it might not find the symbol.
_Scalar = float | int | str | bool | None
_SCALAR_FLAG: Final[Any] = (MAY_BE_ELSE, _Scalar | UnsetType, UNSET)
_OwnWhole: Final[Any] = msgspec.defstruct(
    "_OwnWhole", [_SCALAR_FLAG], bases=(_Whole,), frozen=True, forbid_unknown_fields=True
)
_OwnBare: Final[Any] = msgspec.defstruct(
    "_OwnBare",
    [_SCALAR_FLAG, *((name, _Scalar, None) for name in _OPTIONAL)],
    bases=(_Bare,),
    frozen=True,
    forbid_unknown_fields=True,
)
_FLAGS_AT: Final = slice(len(_NEEDED), len(_NEEDED) + len(FLAGS))
_CLOSED: Final = (True, *[UNSET] * (len(FLAGS) - 1))
"""The flags of a closed candle as the upstream publisher writes them."""


class _Shape(msgspec.Struct):
    """The fields that distinguish a wrapper, a kline event and a candle."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    e: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _BareKline(msgspec.Struct):
    close_time: int = msgspec.field(name="T")
    interval: str = msgspec.field(name="i")
    close: float = msgspec.field(name="c")
    x: bool


class _Kline(_BareKline):
    open_time: int = msgspec.field(name="t")
    open: float = msgspec.field(name="o")
    high: float = msgspec.field(name="h")
    low: float = msgspec.field(name="l")
    volume: float = msgspec.field(name="v")


class _BareKlineEvent(msgspec.Struct):
    event: str = msgspec.field(name="e")
    symbol: str = msgspec.field(name="s")
    kline: _BareKline = msgspec.field(name="k")


class _KlineEvent(msgspec.Struct):
    event: str = msgspec.field(name="e")
    symbol: str = msgspec.field(name="s")
    kline: _Kline = msgspec.field(name="k")


_WHOLE: Final = msgspec.json.Decoder(_Whole, strict=False)
_BARE: Final = msgspec.json.Decoder(_Bare, strict=False)
_FIELDS: Final = {name.encode(): name for name in _Whole.__struct_fields__}


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
        raise CandleRejected(f"event_type is {_shown(event_type)}; expected 'market.klines'")
    if written := fields.get(_WRITTEN_FIELD):
        entry_ms = _written_ms(written)
    name = b"payload" if b"payload" in fields else b"data"
    if name in fields:
        found = _decode_document(name.decode(), fields[name])
    else:
        found = _decode_flat(_in_our_names(fields))
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
    if (flags := astuple(found)[_FLAGS_AT]) != _CLOSED:
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
    return EARLIEST_CLOSE_TIME_MS <= entry_ms < LATEST_CLOSE_TIME_MS


def _written_ms(text: bytes) -> int:
    if not _WRITTEN.fullmatch(text):
        raise CandleRejected(f"{WRITTEN_MS} is {_shown(text)}; expected a time in milliseconds")
    return int(text)


def _decode_document(name: str, raw: bytes) -> Any:
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise CandleRejected(
            f"field {name!r} has {len(raw):,} bytes; at most {MAX_DOCUMENT_BYTES:,} are read"
        )
    if raw.count(b"[") + raw.count(b"{") > MAX_NESTED:
        # Parsers differ in how deep a document may be nested.
        raise CandleRejected(f"field {name!r} has more than {MAX_NESTED} arrays and objects")
    if raw[:1] and raw[0] in _MESSAGEPACK_MAP_STARTS:
        return _decode_own(raw, f"field {name!r} (MessagePack)")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise CandleRejected(f"field {name!r} is not valid UTF-8: {error}") from None
    return _decode_json(raw, f"field {name!r} (JSON)")


def _decode_json(raw: bytes, where: str) -> Any:
    try:
        # Without these bytes, neither name in _Shape can occur, not even escaped.
        is_plain = b'"e"' not in raw and b'"data"' not in raw and b"\\" not in raw
        if is_plain and raw.count(b'"symbol"') < 2:
            return _decode_plain(raw)
        found = _decode_any_json(raw)
    except msgspec.DecodeError as error:
        hint = "; JSON has no NaN or Infinity" if _NOT_A_NUMBER.search(raw) else ""
        raise CandleRejected(f"{where} is not a candle: {error}{hint}") from None
    leading = _LEADING_SYMBOL.match(raw)
    if leading and leading[1] != found.symbol.encode():
        raise CandleRejected(
            f"{where} names more than one symbol, {_shown(leading[1])} and {found.symbol[:80]!r}"
        )
    return found


def _decode_plain(raw: bytes | msgspec.Raw) -> Any:
    try:
        return _WHOLE.decode(raw)
    except msgspec.ValidationError:
        return _whole(_BARE.decode(raw))


def _decode_any_json(raw: bytes | msgspec.Raw) -> Any:
    shape = msgspec.json.decode(raw, type=_Shape)
    if shape.data is not UNSET:
        raw = shape.data
        shape = msgspec.json.decode(raw, type=_Shape)
    if shape.e is UNSET:
        return _decode_plain(raw)
    event: _KlineEvent | _BareKlineEvent
    try:
        event = msgspec.json.decode(raw, type=_KlineEvent, strict=False)
    except msgspec.ValidationError:
        event = msgspec.json.decode(raw, type=_BareKlineEvent, strict=False)
    if event.event != "kline":
        raise CandleRejected(f"event 'e' is {event.event[:40]!r}; expected 'kline'")
    return _Whole(symbol=event.symbol, **asdict(event.kline))


def _decode_own(raw: bytes, where: str) -> Any:
    try:
        try:
            return msgspec.msgpack.decode(raw, type=_OwnWhole, strict=False)
        except msgspec.ValidationError:
            own = msgspec.msgpack.decode(raw, type=_OwnBare, strict=False)
    except msgspec.DecodeError as error:
        raise CandleRejected(f"{where} is not a candle: {error}") from None
    except UnicodeDecodeError as error:
        raise CandleRejected(f"{where} is not valid UTF-8: {error}") from None
    return _whole(own)


def _whole(found: Any) -> Any:
    """Without the optional fields."""
    return _Whole(*astuple(found)[: _FLAGS_AT.stop])


def _in_our_names(fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    if not is_of_cryptofeed(fields):
        return fields
    try:
        return in_our_names(fields)
    except ValueError as error:
        raise CandleRejected(f"the fields of cryptofeed are not a candle: {error}") from None


def _decode_flat(fields: Mapping[bytes, bytes]) -> Any:
    """Unknown fields are ignored; an empty field counts as missing."""
    known = {}
    for raw_name, value in fields.items():
        name = _FIELDS.get(raw_name)
        if name is None or not value:
            continue
        if len(value) > MAX_DOCUMENT_BYTES:
            raise CandleRejected(f"field {name!r} has {len(value):,} bytes")
        try:
            known[name] = value.decode()
        except UnicodeDecodeError as error:
            raise CandleRejected(f"field {name!r} is not valid UTF-8: {error}") from None
    if not known.keys() & {"symbol", "close", "close_time"}:
        raise CandleRejected(
            f"no known field among {_shown(b', '.join(sorted(fields)))}; "
            "expected 'payload', 'data', or 'symbol' with 'close' and 'close_time'"
        )
    try:
        try:
            return msgspec.convert(known, _Whole, strict=False)
        except msgspec.ValidationError:
            return _whole(msgspec.convert(known, _Bare, strict=False))
    except msgspec.ValidationError as error:
        raise CandleRejected(f"flat fields are not a candle: {error}") from None


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
    if close_time_ms < EARLIEST_CLOSE_TIME_MS:
        raise CandleRejected(
            f"close_time {close_time_ms} is before the year 2000; "
            "it must be in milliseconds (is it in seconds?)"
        )
    if close_time_ms > LATEST_CLOSE_TIME_MS:
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


def _shown(raw: bytes) -> str:
    return repr(raw[:200].decode(errors="replace"))
