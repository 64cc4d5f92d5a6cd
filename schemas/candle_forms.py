"""The forms of an input entry, and what it says of its candle in each of them.

An entry is a map of fields. The fields alone determine its form:

1. `payload` (or `data`) holds the upstream publisher's JSON candle;
2. neither field exists: `symbol`, `close`, `close_time` and the rest are fields of the entry;
3. `payload` or `data` holds a raw Binance kline event, alone or in the combined-stream wrapper;
4. `payload` or `data` holds our own `Candle` as JSON or MessagePack;
5. neither field exists, and the candle has `start` and `stop`: see `schemas/cryptofeed.py`.

`worker/lua/symbol.lua` finds the symbol by the same rules; change both together. The bytes are
untrusted: their size is checked before they are parsed. Every error is a ValueError that a person
can understand.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, astuple

from marketstate.schemas.closed import FLAGS, MAY_BE_ELSE
from marketstate.schemas.cryptofeed import in_our_names, is_of_cryptofeed
from marketstate.schemas.wanted import with_what_is_wanted

MAX_DOCUMENT_BYTES: Final = 65_536
MAX_NESTED: Final = 256

_MESSAGEPACK_MAP_STARTS: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])
# What worker/lua/symbol.lua takes for the symbol without reading the rest.
_LEADING_SYMBOL: Final = re.compile(rb'{"symbol": ?"([^"\\]+)"')
_NOT_A_NUMBER: Final = re.compile(rb":\s*-?(NaN|Infinity)")

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
CLOSED: Final = (True, *[UNSET] * (len(FLAGS) - 1))
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


# A candle, unless it has a field of a wrapper or an event.
_Document: Final[Any] = msgspec.defstruct(
    "_Document",
    [(name, msgspec.Raw | UnsetType, UNSET) for name in _Shape.__struct_fields__],
    bases=(_Whole,),
    frozen=True,
)
_DOCUMENT: Final = msgspec.json.Decoder(_Document, strict=False)
_WHOLE: Final = msgspec.json.Decoder(_Whole, strict=False)
_BARE: Final = msgspec.json.Decoder(_Bare, strict=False)
_FIELDS: Final = {name.encode(): name for name in _Whole.__struct_fields__}


def found_in(fields: Mapping[bytes, bytes]) -> Any:
    """The fields of a Candle, except `is_closed`; its flags are what `flags_of` returns."""
    name = b"payload" if b"payload" in fields else b"data"
    if name in fields:
        return _decode_document(name.decode(), fields[name])
    return _decode_flat(_in_our_names(fields))


def symbol_at_first_sight(fields: Mapping[bytes, bytes]) -> bytes | None:
    """The symbol of an entry in the form of the upstream publisher, or of flat fields, where it is
    seen without parsing; None where it is not. No other symbol can be found in such an entry, but
    the rest of it may be no candle.
    """
    raw = fields.get(b"payload", fields.get(b"data"))
    if raw is None:
        return fields.get(b"symbol") or None
    leading = _LEADING_SYMBOL.match(raw)
    return leading[1] if leading else None


def flags_of(found: Any) -> tuple[Any, ...]:
    """In the order of FLAGS; UNSET for those that it does not have."""
    return astuple(found)[_FLAGS_AT]


def _decode_document(name: str, raw: bytes) -> Any:
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"field {name!r} has {len(raw):,} bytes; at most {MAX_DOCUMENT_BYTES:,} are read"
        )
    if len(raw) > MAX_NESTED and raw.count(b"[") + raw.count(b"{") > MAX_NESTED:
        # Parsers differ in how deep a document may be nested.
        raise ValueError(f"field {name!r} has more than {MAX_NESTED} arrays and objects")
    if raw[:1] and raw[0] in _MESSAGEPACK_MAP_STARTS:
        return _decode_own(raw, f"field {name!r} (MessagePack)")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"field {name!r} is not valid UTF-8: {error}") from None
    return _decode_json(raw, f"field {name!r} (JSON)")


def _decode_json(raw: bytes, where: str) -> Any:
    try:
        # Without a backslash, no name is escaped: then there is just one symbol.
        is_plain = b"\\" not in raw and raw.count(b'"symbol"') < 2
        if is_plain and (found := _candle_in(raw)) is not None:
            return found
        found = _decode_any_json(raw)
    except msgspec.DecodeError as error:
        hint = "; JSON has no NaN or Infinity" if _NOT_A_NUMBER.search(raw) else ""
        raise ValueError(
            f"{where} is not a candle: {with_what_is_wanted(str(error))}{hint}"
        ) from None
    leading = _LEADING_SYMBOL.match(raw)
    if leading and leading[1] != found.symbol.encode():
        raise ValueError(
            f"{where} names more than one symbol, {shown(leading[1])} and {found.symbol[:80]!r}"
        )
    return found


def _candle_in(raw: bytes) -> Any:
    """None if it is something else, or if some of its fields cannot be read."""
    try:
        found = _DOCUMENT.decode(raw)
    except msgspec.ValidationError:
        return None
    return found if found.e is UNSET and found.data is UNSET else None


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
        try:
            event = msgspec.json.decode(raw, type=_BareKlineEvent, strict=False)
        except msgspec.ValidationError:
            _refuse_another_event(msgspec.json.decode(shape.e))
            raise
    _refuse_another_event(event.event)
    return _Whole(symbol=event.symbol, **asdict(event.kline))


def _refuse_another_event(name: Any) -> None:
    if isinstance(name, str) and name != "kline":
        raise ValueError(f"event 'e' is {name[:40]!r}; expected 'kline'")


def _decode_own(raw: bytes, where: str) -> Any:
    try:
        try:
            return msgspec.msgpack.decode(raw, type=_OwnWhole, strict=False)
        except msgspec.ValidationError:
            own = msgspec.msgpack.decode(raw, type=_OwnBare, strict=False)
    except msgspec.DecodeError as error:
        raise ValueError(f"{where} is not a candle: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not valid UTF-8: {error}") from None
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
        raise ValueError(f"the fields of cryptofeed are not a candle: {error}") from None


def _decode_flat(fields: Mapping[bytes, bytes]) -> Any:
    """Unknown fields are ignored; an empty field counts as missing."""
    known = {}
    for raw_name, value in fields.items():
        name = _FIELDS.get(raw_name)
        if name is None or not value:
            continue
        if len(value) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"field {name!r} has {len(value):,} bytes")
        try:
            known[name] = value.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"field {name!r} is not valid UTF-8: {error}") from None
    if not known.keys() & {"symbol", "close", "close_time"}:
        raise ValueError(
            f"no known field among {shown(b', '.join(sorted(fields)))}; "
            "expected 'payload', 'data', or 'symbol' with 'close' and 'close_time'"
        )
    try:
        try:
            return msgspec.convert(known, _Whole, strict=False)
        except msgspec.ValidationError:
            return _whole(msgspec.convert(known, _Bare, strict=False))
    except msgspec.ValidationError as error:
        raise ValueError(
            f"flat fields are not a candle: {with_what_is_wanted(str(error))}"
        ) from None


def shown(raw: bytes) -> str:
    return repr(raw[:200].decode(errors="replace"))
