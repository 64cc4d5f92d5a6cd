"""Documents as JSON and MessagePack, right ones and every way in which they can be wrong."""

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from tests.fault.fuzz import values

Pairs = list[tuple[str, str]]
"""Names and values of an object, as they stand in JSON; a name may come twice."""

EXTRA_NAMES: Final = (
    *("symbol", "close", "close_time", "interval", "e", "s", "k", "data", "payload", "stream", "x"),
    *("Symbol", "symbol ", "symbol\\u0000", "s\\u0079mbol", "\\u0073", "\\u0065", "d\\u0061ta", ""),
    *("\\ud800", "\x00", "e\\u0000", "é", "💰", "is_closed", "open_time", "timestamp"),
    *("closed", "confirm", "final", "c\\u006cosed", "open", "volume"),
)


def json_document(rng: Random, minute: int) -> bytes:
    shape = rng.random()
    if shape < 0.6:
        text = _object(rng, values.candle(rng, minute))
    else:
        event = values.kline_event(rng, minute)
        kline = _object(rng, event.pop("k"))
        text = _object(rng, event, [('"k"', kline)])
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2)) if shape > 0.4 else 0):
        wrapper = [('"data"', text)]
        if rng.random() < 0.5:
            wrapper.insert(rng.randrange(2), ('"stream"', '"btcusdt@kline_1m"'))
        if rng.random() < 0.1:
            wrapper.insert(rng.randrange(2), ('"symbol"', json.dumps(values.symbol(rng))))
        text = _joined(rng, wrapper)
    return _framed(rng, text.encode(errors="surrogatepass"))


def _object(rng: Random, fields: dict[str, Any], more: Pairs | None = None) -> str:
    is_ascii = rng.random() < 0.5
    pairs = [(json.dumps(n), json.dumps(v, ensure_ascii=is_ascii)) for n, v in fields.items()]
    pairs += more or []
    while rng.random() < 0.25:
        _mutate(rng, pairs)
    if rng.random() < 0.3:
        rng.shuffle(pairs)
    return _joined(rng, pairs)


def _mutate(rng: Random, pairs: Pairs) -> None:
    at = rng.randrange(len(pairs)) if pairs else 0
    name, value = pairs[at] if pairs else ('"x"', "1")
    match rng.randrange(7):
        case 0 | 1:
            pairs[at : at + 1] = [(name, values.any_value(rng))]
        case 2:
            del pairs[at : at + 1]
        case 3:
            pairs.insert(rng.randrange(len(pairs) + 1), (name, values.any_value(rng)))
        case 4:
            extra = f'"{rng.choice(EXTRA_NAMES)}"'
            pairs.insert(rng.randrange(len(pairs) + 1), (extra, values.any_value(rng)))
        case 5:
            pairs[at : at + 1] = [(f'"{rng.choice(EXTRA_NAMES)}"', value)]
        case 6:
            pairs.insert(rng.randrange(len(pairs) + 1), (name, value))


def _joined(rng: Random, pairs: Pairs) -> str:
    """As different writers write it, and with what no writer should."""
    chance = rng.random()
    comma, colon = (", ", ": ") if chance < 0.4 else (",", ":")
    if chance > 0.97:
        comma, colon = rng.choice(
            ((" ,\n", "\t:\r\n"), (",,", ":"), (";", "="), (",\x0b", ":\x0c"))
        )
    return "{" + comma.join(f"{name}{colon}{value}" for name, value in pairs) + "}"


_FRAMES: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda raw: b" \r\n\t" + raw,
    lambda raw: b"\xef\xbb\xbf" + raw,
    lambda raw: b"\x00" + raw,
    lambda raw: b"\x0b" + raw,
    lambda raw: b"\xc2\xa0" + raw,
    lambda raw: raw + b"\n",
    lambda raw: raw + b"\x00",
    lambda raw: raw + b"\x00garbage",
    lambda raw: raw + b"}",
    lambda raw: raw + raw,
    lambda raw: raw[:-1],
    lambda raw: b"[" + raw + b"]",
    lambda raw: b'"' + raw.replace(b'"', b'\\"') + b'"',
    lambda raw: raw.replace(b'"', b"'"),
    lambda raw: raw.replace(b"symbol", b"s\\u0079mbol"),
    lambda raw: raw.replace(b"USDT", b"\\u0055SDT"),
    lambda raw: raw.decode(errors="replace").encode("utf-16"),
    lambda raw: b"// comment\n" + raw,
)


def _framed(rng: Random, raw: bytes) -> bytes:
    chance = rng.random()
    if chance < 0.8:
        return raw
    return rng.choice(_FRAMES)(raw) if chance < 0.88 else with_other_bytes(rng, raw)


def with_other_bytes(rng: Random, raw: bytes) -> bytes:
    """With a few of them changed, put in or left out."""
    found = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(found) + 1)
        new = rng.choice(
            (b"", rng.randbytes(1), rng.randbytes(3), b'"', b"\\", b"{", b"\xc3", b"0")
        )
        found[at : at + rng.randrange(3)] = new
    return bytes(found)


def large_document(rng: Random, minute: int) -> bytes:
    """Around the greatest size that is read, or full of small things."""
    raw = _object(rng, values.candle(rng, minute)).encode(errors="surrogatepass")
    size = 65_536 - len(raw) + rng.randrange(-3, 3)
    stuffing = rng.choice(
        (
            b'"x":"' + b"a" * (size - 7) + b'",',
            b'"x":1,' * (size // 6),
            b'"symbol":1,' * (size // 11),
        )
    )
    return b"{" + stuffing + raw[1:]


_ODD_MESSAGEPACK: Final = (
    *(b"\xc0", b"\xc1", b"\xc2", b"\xc4\x01a", b"\xc5\x00\x01a", b"\xc7\x01\x05x", b"\xd4\x05x"),
    *(b"\xca\x42\xc8\x00\x00", b"\xcb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf0" + bytes(6), b"\xcc\x01"),
    *(b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xe0", b"\xd9\x01a", b"\xda\x00\x01a"),
    *(b"\xdb\x00\x00\x00\x01a", b"\xa3\xff\xfe\xfd", b"\x90", b"\x80", b"\x81\xa1a\x01", b"\xa0"),
    *(
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xdc\x00\x01\x01",
        b"\xdf\x00\x00\x00\x00",
        b"\xdb\xff\xff\xff\xff",
    ),
    b"\x91" * 40 + b"\x01",
)


def messagepack_document(rng: Random, minute: int) -> bytes:
    fields = values.candle(rng, minute)
    pairs = [(_packed(name), _packed(value)) for name, value in fields.items()]
    while rng.random() < 0.3 and pairs:
        at = rng.randrange(len(pairs))
        name, value = pairs[at]
        odd = rng.choice(_ODD_MESSAGEPACK)
        match rng.randrange(5):
            case 0:
                pairs[at] = (name, odd)
            case 1:
                pairs[at] = (odd, value)
            case 2:
                pairs.insert(rng.randrange(len(pairs) + 1), (name, odd))
            case 3:
                pairs.insert(rng.randrange(len(pairs) + 1), (name, _packed(values.symbol(rng))))
            case 4:
                pairs.insert(0, (_packed(rng.choice(("e", "s", "data", "x"))), odd))
    raw = _map_header(rng, len(pairs)) + b"".join(name + value for name, value in pairs)
    chance = rng.random()
    if chance < 0.8:
        return raw
    return raw + rng.choice(_ODD_MESSAGEPACK) if chance < 0.9 else with_other_bytes(rng, raw)


def _packed(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # of more than 64 bits
        return msgspec.msgpack.encode(float(value))


def _map_header(rng: Random, length: int) -> bytes:
    headers = [struct.pack(">BH", 0xDE, length), struct.pack(">BI", 0xDF, length)]
    return rng.choice([bytes([0x80 | length])] * 5 + headers) if length < 16 else headers[0]
