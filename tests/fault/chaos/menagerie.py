"""The monsters: entries at and beyond the limits of what may come in (schemas/README.md)."""

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tests.fault.chaos.entries import Fields

Candle = dict[str, Any]
Monster = Callable[[Candle], Fields]

MOST_NESTED: Final = 256
A_DAY_MS: Final = 86_400_000


def _payload(**changes: Any) -> Monster:
    """A candle with other values, as JSON."""
    return lambda candle: {b"payload": json.dumps(candle | changes).encode()}


def _raw(before: bytes, after: bytes) -> Monster:
    """The JSON of a candle in which a piece is replaced."""

    def monster(candle: Candle) -> Fields:
        text = json.dumps(candle).encode()
        assert before in text
        return {b"payload": text.replace(before, after, 1)}

    return monster


def _flat(**changes: bytes) -> Monster:
    def monster(candle: Candle) -> Fields:
        fields = {name.encode(): str(value).lower().encode() for name, value in candle.items()}
        fields[b"symbol"] = candle["symbol"].encode()
        return fields | {name.encode(): value for name, value in changes.items()}

    return monster


def _kline(**changes: Any) -> Monster:
    def monster(candle: Candle) -> Fields:
        kline = {
            "t": candle["open_time"],
            "T": candle["close_time"],
            "i": "1m",
            "v": "1",
            "x": True,
        }
        kline |= {name[0]: "1.5" for name in ("open", "high", "low", "close")}
        event = {"e": "kline", "s": candle["symbol"], "k": kline | changes}
        return {b"data": json.dumps(event).encode()}

    return monster


def _messagepack(**changes: Any) -> Monster:
    return lambda candle: {b"data": msgspec.msgpack.encode(candle | changes)}


def _many_fields(number: int, *, flat: bool) -> Monster:
    def monster(candle: Candle) -> Fields:
        fields = {b"field-%d" % i: b"%d" % i for i in range(number)}
        return fields | (_flat()(candle) if flat else {b"payload": b"{"})

    return monster


def _nested(depth: int) -> Monster:
    deep = b"[" * depth + b"]" * depth
    return _raw(b'"volume": 1.5', b'"volume": 1.5, "deep": ' + deep)


MONSTERS: Final[tuple[Monster, ...]] = (
    _payload(interval="1m\n"),
    _payload(interval="1" * 5_000 + "m"),
    _payload(interval=""),
    _payload(interval="٣m"),
    _flat(interval=b"1m\n"),
    _kline(i="1m\n"),
    _raw(b'"close": ', b'"close": 1e400, "was": '),
    _raw(b'"close": ', b'"close": ' + b"9" * 400 + b', "was": '),
    _raw(b'"close": ', b'"close": -0.0, "was": '),
    _raw(b'"close_time": ', b'"close_time": ' + b"9" * 400 + b', "was": '),
    _raw(b'"close_time": ', b'"close_time": 9223372036854775808, "was": '),
    _raw(b'"close_time": ', b'"close_time": -1, "was": '),
    _flat(close=b"9" * 400, close_time=b"9" * 400),
    _flat(close=b"nan"),
    _flat(close_time=b"\xff\xfe"),
    _kline(T=2**70),
    _kline(c="Infinity"),
    _messagepack(close_time=2**63),
    _messagepack(close=float("inf")),
    lambda candle: _payload(close_time=candle["close_time"] + 8 * A_DAY_MS)(candle),
    _payload(symbol="A" * 65),
    _payload(symbol=""),
    _payload(symbol="ETH USDT"),
    _payload(symbol="BTC\nUSDT"),
    _payload(symbol="BTC\u202eUSDT"),
    _payload(symbol=7),
    _nested(MOST_NESTED + 1),
    _nested(20_000),
    _raw(b'"volume": 1.5', b'"volume": 1.5, "text": "\xff"'),
    _raw(b'"volume": 1.5', b'"volume": 1.5, "text": "' + b"x" * 200_000 + b'"'),
    _raw(b"}", b""),
    _raw(b"{", b"[{"),
    _many_fields(1_500, flat=True),
    _many_fields(1_500, flat=False),
    lambda _: {b"": b""},
    lambda _: {b"payload": b""},
    lambda _: {b"payload": b"\x00" * 1_000},
    lambda _: {b"data": b"\xdf\xff\xff\xff\xff"},
    lambda _: {b"data": b"\xde\xff\xff"},
    lambda _: {bytes(range(256)): bytes(range(256))},
)
