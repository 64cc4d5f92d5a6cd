"""Entries in every form that the input stream may have, right ones and wrong ones."""

from random import Random
from typing import Final

from tests.fault.fuzz import values
from tests.fault.fuzz.documents import (
    json_document,
    large_document,
    messagepack_document,
    with_other_bytes,
)
from tests.support.candles import MINUTE_MS, START_MS

OddEntry = list[bytes]
"""Name, value, name, value, ... as XADD takes them; a name may come twice."""

_NAMES: Final = (
    *(b"symbol", b"close", b"close_time", b"interval", b"is_closed", b"event_type", b"source"),
    *(b"payload", b"data", b"Payload", b"payload\x00", b"", b"\xff", b"error", b"source_id", b"e"),
)


def odd_entry(rng: Random, minute: int) -> OddEntry:
    """`minute` counts from a start: with it the candles move on."""
    chance = rng.random()
    if chance < 0.35:
        entry = _with_document(rng, json_document(rng, minute))
    elif chance < 0.5:
        entry = _flat(rng, minute)
    elif chance < 0.6:
        entry = _of_cryptofeed(rng, minute)
    elif chance < 0.75:
        entry = _envelope(rng, minute)
    elif chance < 0.93:
        entry = _with_document(rng, messagepack_document(rng, minute))
    elif chance < 0.9985:
        entry = _with_document(rng, rng.randbytes(rng.randrange(60)))
    else:
        entry = _large(rng, minute)
    if rng.random() < 0.1:
        entry += [b"written_ms", _time_of_writing(rng, minute)]
    while rng.random() < 0.05:
        _mutate(rng, entry)
    return entry or [b"x", b""]


def _time_of_writing(rng: Random, minute: int) -> bytes:
    """Around the time when the candle closes."""
    if rng.random() < 0.05:
        return rng.choice((b"", b"now", b"-1", b"1e12", b"0", b"9" * 15, b"9" * 400))
    return b"%d" % (START_MS + MINUTE_MS * minute + rng.randrange(-200_000, 5_000))


def _with_document(rng: Random, raw: bytes) -> OddEntry:
    name = rng.choice((b"payload", b"payload", b"data"))
    if rng.random() < 0.1:
        return [b"data", b'{"symbol":"OTHER"}', b"payload", raw]
    return [name, raw]


def _envelope(rng: Random, minute: int) -> OddEntry:
    payload = json_document(rng, minute)
    fields = [b"event_type", b"market.klines", b"payload", payload, b"correlation_id", b"c"]
    return [*fields, b"timestamp", b"2025-05-04T15:40:00+00:00", b"source", b"up", b"trace_id", b""]


def _flat(rng: Random, minute: int) -> OddEntry:
    entry: OddEntry = []
    for name, value in values.candle(rng, minute).items():
        text = str(value)
        if rng.random() < 0.05:
            text = values.any_value(rng).strip('"')
        raw = text.encode(errors="surrogatepass")
        entry += [name.encode(), with_other_bytes(rng, raw) if rng.random() < 0.02 else raw]
    return entry


def _of_cryptofeed(rng: Random, minute: int) -> OddEntry:
    flat = _flat(rng, minute)
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    close_time = fields.pop(b"close_time", b"")
    fields.pop(b"open_time", None)
    if rng.random() < 0.9 and close_time.isdigit() and len(close_time) < 20:
        start_s = (int(close_time) - 59_999) / 1_000
        stop_s = start_s + rng.choice((59.999, 60.0, 59.0, 59.9, 60.0, 58.0, 3_600.0))
        close_time = repr(stop_s).encode()
        fields[b"start"] = repr(start_s).encode()
    else:
        fields[b"start"] = values.any_value(rng).encode(errors="surrogatepass")
    fields[b"stop"] = close_time
    closed = rng.choice((b"True", b"True", b"True", b"False", b"None", b"1"))
    fields |= {b"closed": closed, b"trades": b"None", b"exchange": b"BINANCE"}
    fields.pop(b"is_closed", None)
    return [part for pair in fields.items() for part in pair]


def _large(rng: Random, minute: int) -> OddEntry:
    match rng.randrange(3):
        case 0:
            return _with_document(rng, large_document(rng, minute))
        case 1:
            return _flat(rng, minute) + [b"f%d" % (i // 2) for i in range(20_000)]
        case _:
            return [*_flat(rng, minute), rng.choice(_NAMES), b"x" * 200_000]


def _mutate(rng: Random, entry: OddEntry) -> None:
    """One field more, less, twice, or of another name."""
    at = 2 * rng.randrange(len(entry) // 2) if entry else 0
    odd = rng.choice((b"", b"\xff\xfe", b"market.trades", b"BTCUSDT", b"x" * 100, rng.randbytes(8)))
    match rng.randrange(4):
        case 0:
            entry[at:at] = [rng.choice(_NAMES), odd]
        case 1:
            del entry[at : at + 2]
        case 2:
            entry[at:at] = entry[at : at + 2]
        case 3:
            entry[at : at + 1] = [rng.choice(_NAMES)] if entry else []
