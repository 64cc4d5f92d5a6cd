"""Every kind of entry that is not a candle, and the reason that is given."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketstate.schemas.candle import Candle, CandleRejected, decode_candle

T = 1_700_000_040_000 - 1
PLAIN: dict[str, Any] = {"symbol": "BTCUSDT", "close": 37_001.125, "close_time": T}
KLINE: dict[str, Any] = {
    "e": "kline",
    "s": "BTCUSDT",
    "k": {
        **{"t": T - 59_999, "T": T, "i": "1m", "x": True},
        **{"o": "36999.5", "c": "37001.125", "h": "37010", "l": "36990.25", "v": "12.5"},
    },
}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def decode(fields: Mapping[bytes, bytes]) -> Candle:
    return decode_candle(fields, entry_ms=T + 700)


def with_payload(**changes: object) -> dict[bytes, bytes]:
    return {b"payload": as_json(PLAIN | changes)}


def flat(**changes: bytes) -> dict[bytes, bytes]:
    fields = {b"symbol": b"BTCUSDT", b"close": b"37001.125", b"close_time": b"%d" % T}
    return fields | {name.encode(): value for name, value in changes.items()}


def nested(depth: int) -> bytes:
    return as_json(PLAIN)[:-1] + b', "note": ' + b"[" * depth + b"]" * depth + b"}"


def damaged_messagepack() -> bytes:
    return msgspec.msgpack.encode(PLAIN).replace(b"BTCUSDT", b"BTC\xff\xfeDT")


BAD: dict[str, tuple[dict[bytes, bytes], str]] = {
    "not JSON": (
        {b"payload": b"hello"},
        "field 'payload' (JSON) is not a candle: JSON is malformed",
    ),
    "cut JSON": (
        {b"data": b'{"symbol": "BTC'},
        "field 'data' (JSON) is not a candle: Input data was",
    ),
    "text after the JSON": ({b"payload": as_json(PLAIN) + b"x"}, "trailing characters"),
    "empty payload": ({b"payload": b""}, "field 'payload' (JSON) is not a candle: Input data was"),
    "a JSON list": ({b"payload": b"[1, 2]"}, "Expected `object`, got `array`"),
    "a JSON number": ({b"payload": b"5"}, "Expected `object`, got `int`"),
    "JSON null": ({b"payload": b"null"}, "Expected `object`, got `null`"),
    "JSON text": ({b"payload": b'"BTCUSDT"'}, "Expected `object`, got `str`"),
    "wrapper of nothing": ({b"data": b'{"data": null}'}, "Expected `object`, got `null`"),
    "no symbol": ({b"payload": b'{"close": 1}'}, "missing required field `symbol`"),
    "symbol null": (with_payload(symbol=None), "Expected `str`, got `null` - at `$.symbol`"),
    "symbol a number": (with_payload(symbol=7), "Expected `str`, got `int` - at `$.symbol`"),
    "empty symbol": (with_payload(symbol=""), "symbol '' is not 1 to 64 printable characters"),
    "space in symbol": (with_payload(symbol="BTC USDT"), "symbol 'BTC USDT' is not 1 to 64 print"),
    "non-breaking space in symbol": (with_payload(symbol="BTC\xa0USDT"), "without spaces"),
    "newline in symbol": (with_payload(symbol="BTC\nUSDT"), r"symbol 'BTC\nUSDT' is not"),
    "NUL in symbol": (with_payload(symbol="BTC\0"), r"symbol 'BTC\x00' is not"),
    "long symbol": (with_payload(symbol="A" * 65), "is not 1 to 64 printable characters"),
    "flat without symbol": ({b"close": b"1", b"close_time": b"1"}, "required field `symbol`"),
    "70 KiB": (with_payload(note="a" * 70 * 1024), "bytes; at most 65,536 are read"),
    "price 0": (with_payload(close=0), "close is 0.0; a price must be finite and above 0"),
    "price -1": (with_payload(close=-1), "close is -1.0; a price must be finite and above 0"),
    "price -0": (with_payload(close=-0.0), "close is -0.0; a price must be finite and above 0"),
    "price that rounds to 0": (with_payload(close="1e-400"), "close is 0.0; a price must be"),
    "price NaN": (with_payload(close=float("nan")), "JSON has no NaN or Infinity"),
    "price -Infinity": (with_payload(close=-float("inf")), "JSON has no NaN or Infinity"),
    "price 'NaN'": (with_payload(close="NaN"), "close is nan; a price must be finite and above 0"),
    "price 'inf'": (with_payload(close="inf"), "close is inf; a price must be finite and above 0"),
    "price 1e400": (
        {b"payload": as_json(PLAIN).replace(b"37001.125", b"1e400")},
        "Number out of range - at `$.close`",
    ),
    "MessagePack price NaN": (
        {b"data": msgspec.msgpack.encode(PLAIN | {"close": float("nan")})},
        "close is nan; a price must be finite and above 0",
    ),
    "price 'abc'": (with_payload(close="abc"), "Expected `float`, got `str` - at `$.close`"),
    "price empty": (with_payload(close=""), "Expected `float`, got `str` - at `$.close`"),
    "price null": (with_payload(close=None), "Expected `float`, got `null` - at `$.close`"),
    "price true": (with_payload(close=True), "Expected `float`, got `bool` - at `$.close`"),
    "price a list": (with_payload(close=[1]), "Expected `float`, got `array` - at `$.close`"),
    "flat price 'abc'": (
        flat(close=b"abc"),
        "at `$.close`; close must be a number such as 95459.2",
    ),
    "JSON price '1,5'": (with_payload(close="1,5"), "; close must be a number such as 95459.2"),
    "kline price 'abc'": (
        {b"data": b'{"e":"kline","s":"A","k":{"T":1,"i":"1m","x":true,"c":"abc"}}'},
        "at `$.k.c`; c must be a number such as 95459.2",
    ),
    "aggTrade": (
        {b"data": b'{"e":"aggTrade","s":"A","p":"9.5"}'},
        "event 'e' is 'aggTrade'; expec",
    ),
    "flat timestamp": (
        {b"symbol": b"A", b"close": b"9.5", b"timestamp": b"%d" % T},
        "field `close_time`; close_time must be the end of the candle in milliseconds since 1970",
    ),
    "flat closed 'yes'": (flat(closed=b"yes"), "; closed must be true, false, 1 or 0"),
    "flat price 'nan'": (flat(close=b"nan"), "close is nan; a price must be finite and above 0"),
    "missing close": ({b"payload": b'{"symbol": "BTCUSDT"}'}, "missing required field `close`"),
    "missing close time": (
        {b"payload": b'{"symbol": "BTCUSDT", "close": 1}'},
        "missing required field `close_time`",
    ),
    "flat, missing close": ({b"symbol": b"BTCUSDT"}, "missing required field `close`"),
    "seconds": (with_payload(close_time=T // 1000), "milliseconds (is it in seconds?)"),
    "time 0": (with_payload(close_time=0), "close_time 0 is before the year 2000"),
    "time -1": (with_payload(close_time=-1), "close_time -1 is before the year 2000"),
    "microseconds": (
        with_payload(close_time=T * 1000),
        "after the year 2100; it must be in milliseconds",
    ),
    "six days ahead": (
        with_payload(close_time=T + 6 * 86_400_000),
        "is 518,399 s after the entry was written; a closed candle may be at most 60 s ahead",
    ),
    "time beyond 64 bits": (with_payload(close_time=10**30), "after the year 2100"),
    "time of 5,000 digits": (
        {b"payload": as_json(PLAIN).replace(b"%d" % T, b"9" * 5_000)},
        "Integer value out of range - at `$.close_time`",
    ),
    "time with a fraction": (with_payload(close_time=T + 0.5), "Expected `int`, got `float`"),
    "time true": (with_payload(close_time=True), "Expected `int`, got `bool` - at `$.close_time`"),
    "time as a date": (with_payload(close_time="2023-11-14"), "Expected `int`, got `str`"),
    "is_closed 'no'": (
        with_payload(is_closed="no"),
        "Expected `bool | null`, got `str` - at `$.is_cl",
    ),
    "confirm 2": (with_payload(confirm=2), "Expected `bool | null`, got `int` - at `$.confirm`"),
    "flat final 'maybe'": (flat(final=b"maybe"), "Expected `bool | null`, got `str` - at `$.fi"),
    "two flags": (
        with_payload(is_closed=True, confirm=False),
        "is_closed says that the candle has closed, but confirm says that it has not",
    ),
    "invalid UTF-8 in a used field": (
        {b"payload": as_json(PLAIN).replace(b"BTC", b"B\xffC")},
        "field 'payload' is not valid UTF-8",
    ),
    "invalid UTF-8 in an unused field": (
        {b"payload": as_json(PLAIN | {"note": "x"}).replace(b'"x"', b'"\xc3"')},
        "field 'payload' is not valid UTF-8",
    ),
    "invalid UTF-8 in the MessagePack symbol": (
        {b"data": damaged_messagepack()},
        "field 'data' (MessagePack) is not valid UTF-8",
    ),
    "invalid UTF-8 in a used flat field": (
        flat(symbol=b"B\xff"),
        "field 'symbol' is not valid UTF",
    ),
    "half a surrogate pair": (
        {b"payload": as_json(PLAIN).replace(b"BTC", b"\\ud800")},
        "JSON is malformed",
    ),
    "no known field": (
        {b"price": b"1", b"ticker": b"BTCUSDT"},
        "no known field among 'price, ticker'; expected 'payload', 'data', or 'symbol'",
    ),
    "flat, empty symbol": (flat(symbol=b""), "Object missing required field `symbol`"),
    "70 KiB flat": (flat(symbol=b"x" * 70_000), "field 'symbol' has 70,000 bytes"),
    "nested too deep": (
        {b"payload": nested(257)},
        "field 'payload' has more than 256 arrays and objects",
    ),
    "MessagePack with more than a Candle": (
        {b"data": msgspec.msgpack.encode(PLAIN | {"note": 1})},
        "field 'data' (MessagePack) is not a candle: Object contains unknown field `note`",
    ),
    "MessagePack in a wrapper": (
        {b"data": msgspec.msgpack.encode({"data": PLAIN})},
        "Object contains unknown field `data`",
    ),
    "a kline event as MessagePack": (
        {b"data": msgspec.msgpack.encode(KLINE)},
        "Object contains unknown field `e`",
    ),
    "cut MessagePack": ({b"data": b"\x84\xa6symbol\xd9"}, "Input data was truncated"),
    "another event type": (
        with_payload() | {b"event_type": b"market.trades"},
        "event_type is 'market.trades'; expected 'market.klines'",
    ),
    "an event type of bytes": (with_payload() | {b"event_type": b"\xff" * 99}, "event_type is '"),
    "another Binance event": (
        {b"data": as_json(KLINE | {"e": "trade"})},
        "event 'e' is 'trade'; expected 'kline'",
    ),
    "a Binance event of another shape": (
        {b"data": b'{"e": "trade", "s": "BTCUSDT"}'},
        "event 'e' is 'trade'; expected 'kline'",
    ),
    "an empty kline": ({b"data": as_json(KLINE | {"k": {}})}, "required field `T` - at `$.k`"),
}


@pytest.mark.parametrize(("fields", "reason"), BAD.values(), ids=BAD)
def test_what_is_not_a_candle_is_rejected_with_the_reason(
    fields: dict[bytes, bytes], reason: str
) -> None:
    """G5: the reason goes into the dead-letter stream."""
    with pytest.raises(CandleRejected) as rejected:
        decode(fields)
    assert reason in str(rejected.value)


NAMES = st.sampled_from(
    [b"event_type", b"payload", b"data", b"symbol", b"close", b"close_time", b"open", b"is_closed"]
)
PIECES = st.sampled_from(
    [value for fields, _ in BAD.values() for value in fields.values() if len(value) < 1_000]
    + [as_json(PLAIN), as_json({"data": KLINE}), *map(msgspec.msgpack.encode, (PLAIN, KLINE))]
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Almost a candle: with bytes removed, inserted or changed."""
    piece = draw(PIECES)
    start = draw(st.integers(0, len(piece)))
    return piece[:start] + draw(st.binary(max_size=4)) + piece[start + draw(st.integers(0, 4)) :]


@given(
    fields=st.dictionaries(
        NAMES | st.binary(max_size=8), st.binary(max_size=200) | PIECES | spoilt(), max_size=6
    ),
    entry_ms=st.integers(0, 2**64 - 1) | st.just(T),
)
def test_any_bytes_give_a_candle_or_a_rejection(fields: dict[bytes, bytes], entry_ms: int) -> None:
    """G5: there is no third outcome."""
    try:
        candle = decode_candle(fields, entry_ms)
    except CandleRejected as rejected:
        reason = str(rejected)
    else:
        reason = "none"
        assert candle.symbol.isprintable()
        assert 0 < candle.close < float("inf")
        assert 0 < candle.close_time < 2**63
    assert 0 < len(reason.encode()) < 1_000
