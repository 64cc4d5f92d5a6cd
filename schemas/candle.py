"""The candle: how one entry of the input stream is decoded, in each form that it may have.

An entry is a map of fields. The fields alone determine its form:

1. `payload` (or `data`) holds the upstream publisher's JSON candle;
2. neither field exists: `symbol`, `close`, `close_time` and the rest are fields of the entry;
3. `payload` or `data` holds a raw Binance kline event, alone or in the combined-stream wrapper;
4. `payload` or `data` holds our own `Candle` as JSON or MessagePack;
5. neither field exists, and the candle has `start`, `stop` and `closed`: see
   `schemas/cryptofeed.py`.

`worker/lua/symbol.lua` finds the symbol by the same rules; change both together. The bytes are
untrusted: their size is checked before they are parsed, and every error becomes a
`CandleRejected` that a person can understand.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from schemas.cryptofeed import in_our_names, is_of_cryptofeed
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
_PRICES: Final = ("open", "high", "low", "close")


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


class _OwnCandle(Candle, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `Candle` in MessagePack without unknown fields.

    The reader in symbol.lua does not support all of MessagePack: after an unknown field it might
    not find the symbol.
    """


class _Shape(msgspec.Struct):
    """The fields that distinguish a wrapper, a kline event and a candle."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    e: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Kline(msgspec.Struct):
    open_time: int = msgspec.field(name="t")
    close_time: int = msgspec.field(name="T")
    interval: str = msgspec.field(name="i")
    open: float = msgspec.field(name="o")
    high: float = msgspec.field(name="h")
    low: float = msgspec.field(name="l")
    close: float = msgspec.field(name="c")
    volume: float = msgspec.field(name="v")
    is_closed: bool = msgspec.field(name="x")


class _KlineEvent(msgspec.Struct):
    event: str = msgspec.field(name="e")
    symbol: str = msgspec.field(name="s")
    kline: _Kline = msgspec.field(name="k")


_CANDLE: Final = msgspec.json.Decoder(Candle, strict=False)


def decode_candle(
    fields: Mapping[bytes, bytes], entry_ms: int, max_ahead_ms: int = MAX_AHEAD_MS
) -> Candle:
    """Decode the candle in an entry's `fields`; `entry_ms` is the time in the entry's id.

    Raises CandleRejected if there is no candle, or an impossible one: for example a closed candle
    that closes more than `max_ahead_ms` after it was written.
    """
    event_type = fields.get(b"event_type", b"market.klines")
    if event_type != b"market.klines":
        raise CandleRejected(f"event_type is {_shown(event_type)}; expected 'market.klines'")
    name = b"payload" if b"payload" in fields else b"data"
    if name in fields:
        candle = _decode_document(name.decode(), fields[name])
    else:
        candle = _decode_flat(_in_our_names(fields))
    check_candle(candle, entry_ms, max_ahead_ms)
    return candle


def check_candle(candle: Candle, entry_ms: int, max_ahead_ms: int = MAX_AHEAD_MS) -> None:
    """Raise CandleRejected for an impossible candle; `entry_ms` is when it was written."""
    check_symbol(candle.symbol)
    _check_prices(candle)
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


def _decode_document(name: str, raw: bytes) -> Candle:
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


def _decode_json(raw: bytes, where: str) -> Candle:
    try:
        # Without these bytes, neither name in _Shape can occur, not even escaped.
        is_plain = b'"e"' not in raw and b'"data"' not in raw and b"\\" not in raw
        if is_plain and raw.count(b'"symbol"') < 2:
            return _CANDLE.decode(raw)
        candle = _decode_any_json(raw)
    except msgspec.DecodeError as error:
        hint = "; JSON has no NaN or Infinity" if _NOT_A_NUMBER.search(raw) else ""
        raise CandleRejected(f"{where} is not a candle: {error}{hint}") from None
    leading = _LEADING_SYMBOL.match(raw)
    if leading and leading[1] != candle.symbol.encode():
        raise CandleRejected(
            f"{where} names more than one symbol, {_shown(leading[1])} and {candle.symbol[:80]!r}"
        )
    return candle


def _decode_any_json(raw: bytes | msgspec.Raw) -> Candle:
    shape = msgspec.json.decode(raw, type=_Shape)
    if shape.data is not msgspec.UNSET:
        raw = shape.data
        shape = msgspec.json.decode(raw, type=_Shape)
    if shape.e is msgspec.UNSET:
        return _CANDLE.decode(raw)
    return _from_kline_event(msgspec.json.decode(raw, type=_KlineEvent, strict=False))


def _decode_own(raw: bytes, where: str) -> Candle:
    try:
        own = msgspec.msgpack.decode(raw, type=_OwnCandle, strict=False)
    except msgspec.DecodeError as error:
        raise CandleRejected(f"{where} is not a candle: {error}") from None
    except UnicodeDecodeError as error:
        raise CandleRejected(f"{where} is not valid UTF-8: {error}") from None
    return msgspec.convert(own, Candle, from_attributes=True)


def _from_kline_event(event: _KlineEvent) -> Candle:
    if event.event != "kline":
        raise CandleRejected(f"event 'e' is {event.event[:40]!r}; expected 'kline'")
    return Candle(symbol=event.symbol, **msgspec.structs.asdict(event.kline))


def _in_our_names(fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    if not is_of_cryptofeed(fields):
        return fields
    try:
        return in_our_names(fields)
    except ValueError as error:
        raise CandleRejected(f"the fields of cryptofeed are not a candle: {error}") from None


def _decode_flat(fields: Mapping[bytes, bytes]) -> Candle:
    """Unknown fields are ignored; an empty field counts as missing."""
    known = {}
    for name in Candle.__struct_fields__:
        value = fields.get(name.encode())
        if not value:
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
        return msgspec.convert(known, Candle, strict=False)
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


def _check_prices(candle: Candle) -> None:
    prices = (candle.open, candle.high, candle.low, candle.close)
    for price in prices:
        if price is not None and not 0.0 < price < math.inf:
            name = _PRICES[prices.index(price)]
            raise CandleRejected(f"{name} is {price!r}; a price must be finite and above 0")


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
    # An entry id that was set by hand holds no time to compare with.
    entry_has_time = EARLIEST_CLOSE_TIME_MS <= entry_ms < LATEST_CLOSE_TIME_MS
    ahead_ms = close_time_ms - entry_ms
    if candle.is_closed and entry_has_time and ahead_ms > max_ahead_ms:
        raise CandleRejected(
            f"close_time {close_time_ms} is {ahead_ms / 1_000:,.0f} s after the entry was written; "
            f"a closed candle may be at most {max_ahead_ms / 1_000:g} s ahead: see the clock of "
            "its writer"
        )


def _shown(raw: bytes) -> str:
    return repr(raw[:200].decode(errors="replace"))
