"""What is fed: a seeded sequence of input entries in every form, with every kind of flaw."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec

from tests.fault.chaos.names import Names

Fields = dict[bytes, bytes]

NUMBER_FIELD: Final = b"trace_id"
"""Holds the entry's number in the sequence, in every form: unknown fields are ignored."""

MINUTE_MS: Final = 60_000
MOST_AHEAD_S: Final = 604_800
"""How far ahead of its entry a close may be, by the settings of the workers: an entry is fed long
before its candle could close.
"""
AHEAD_MS: Final = 12 * 3_600_000
"""How far the first candles are ahead, so that none is old when a fault sets the clock of Redis."""
MOST_SYMBOLS: Final = 40
FEWEST_SYMBOLS: Final = 5
"""Of a partition."""

WHAT_COMES: Final = {
    "candle": 830,
    "a millisecond later": 10,
    "a millisecond earlier": 10,
    "after a gap": 10,
    "after a long gap": 4,
    "half a minute later": 10,
    "with nonsense beside the close": 10,
    "duplicate": 20,
    "revised": 15,
    "late": 20,
    "not closed": 20,
    "without a flag": 10,
    "another interval": 10,
    "bad": 30,
}
STEPS_MS: Final = {
    "candle": [MINUTE_MS],
    "after a gap": [MINUTE_MS * minutes for minutes in range(2, 7)],
    "after a long gap": [MINUTE_MS * minutes for minutes in (18, 19, 20, 40, 59, 60, 61)],
    "half a minute later": [MINUTE_MS // 2],
    # From another feed.
    "a millisecond later": [MINUTE_MS + 1],
    "a millisecond earlier": [MINUTE_MS - 1],
    "with nonsense beside the close": [MINUTE_MS],
}
SAME_CANDLE_MS: Final = (0, 0, 1, -1, 29_999, -29_999)
"""How much later its close time may be when a candle comes again."""
FLAGS: Final = (
    *("is_closed", "isClosed", "closed", "confirm", "x"),
    *("is_final", "isFinal", "final", "complete"),
)
SPELLINGS: Final[dict[bool, list[Any]]] = {
    True: [True, 1, "true", "True", "1"],
    False: [False, 0, "FALSE", "false", "0"],
}
NONSENSE: Final[tuple[dict[str, Any], ...]] = (
    {"open": 0.0},
    {"high": -2.0},
    {"low": "n/a"},
    {"volume": ""},
    {"open_time": "yesterday"},
)


def symbols_of(names: Names) -> list[str]:
    """All symbols together are 40, or some more of many partitions."""
    first = [*(f"COIN{i:02d}USDT" for i in range(38)), "BTCUSDT", "币安人生USDT"]
    fed = filter(names.is_fed, [*first, *(f"COIN{i}USDT" for i in range(100, 1_000))])
    return list(islice(fed, max(FEWEST_SYMBOLS, MOST_SYMBOLS // names.partitions)))


def entries(seed: int, count: int, first_close_ms: int, symbols: Sequence[str]) -> list[Fields]:
    """Entries with their numbers; the same seed gives the same entries."""
    rng = random.Random(f"entries {seed}")
    markets = [_Market(symbol, rng, last_close_ms=first_close_ms) for symbol in symbols]
    made = []
    for number in range(count):
        (what,) = rng.choices(list(WHAT_COMES), list(WHAT_COMES.values()))
        fields = rng.choice(markets).entry(what)
        made.append(fields | {NUMBER_FIELD: b"%d" % number})
    return made


@dataclass
class _Market:
    symbol: str
    rng: random.Random
    last_close_ms: int
    price: float = 100.0

    def entry(self, what: str) -> Fields:
        if what == "bad":
            return self.rng.choice(BAD)(self._candle(self.last_close_ms + MINUTE_MS))
        candle = self._next(what) if what in STEPS_MS else self._other(what)
        if what == "without a flag":
            return self.rng.choice([_flat, _own])(candle, self.rng)
        return _in_some_form(candle, self.rng)

    def _next(self, what: str) -> dict[str, Any]:
        self.last_close_ms += self.rng.choice(STEPS_MS[what])
        # Ticks and unchanged prices give ties, whose signs must be right too.
        if self.rng.random() < 0.8:
            self.price = round(max(1.0, self.price * (1 + self.rng.gauss(0, 0.002))), 2)
        candle = self._candle(self.last_close_ms) | {"close": self.price}
        if what == "with nonsense beside the close":
            candle |= self.rng.choice(NONSENSE)
        return candle

    def _other(self, what: str) -> dict[str, Any]:
        match what:
            case "duplicate" | "revised":
                candle = self._candle(self.last_close_ms + self.rng.choice(SAME_CANDLE_MS))
                return candle | ({"close": self.price} if what == "duplicate" else {})
            case "late":
                return self._candle(self.last_close_ms - MINUTE_MS * self.rng.randint(1, 30))
            case "not closed":
                return self._candle(self.last_close_ms + MINUTE_MS) | {"is_closed": False}
            case "without a flag":
                candle = self._candle(self.last_close_ms + MINUTE_MS)
                del candle["is_closed"]
                return candle
            case _:
                intervals = {"interval": self.rng.choice(["5m", "1H", "60", "ONE_DAY"])}
                return self._candle(self.last_close_ms + MINUTE_MS) | intervals

    def _candle(self, close_time_ms: int) -> dict[str, Any]:
        """Its close differs from the last one, so that a duplicate that wins is detected."""
        moved = round(self.price * self.rng.uniform(0.99, 1.01), 2)
        return new_candle(self.symbol, close_time_ms, moved)


def new_candle(symbol: str, close_time_ms: int, price: float = 100.0) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "interval": "1m",
        "open": price,
        "high": price,
        "low": price,
        "close": price,
        "volume": 1.5,
        "open_time": close_time_ms - MINUTE_MS + 1,
        "close_time": close_time_ms,
        "is_closed": True,
    }


def _in_some_form(candle: dict[str, Any], rng: random.Random) -> Fields:
    (form,) = rng.choices([_envelope, _flat, _kline_event, _own], [70, 10, 10, 10])
    if form is not _kline_event and rng.random() < 0.3:
        candle = _with_another_flag(candle, rng)
    return form(candle, rng)


def _with_another_flag(candle: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    spelled = rng.choice(SPELLINGS[candle["is_closed"]])
    rest = {name: value for name, value in candle.items() if name != "is_closed"}
    return rest | {rng.choice(FLAGS): spelled}


def _envelope(candle: dict[str, Any], rng: random.Random) -> Fields:
    names = list(candle)
    if rng.random() < 0.1:
        rng.shuffle(names)
    payload = {name: candle[name] for name in names} | {"timestamp": candle["close_time"]}
    return _enveloped(_json(payload, rng))


def _enveloped(payload: bytes) -> Fields:
    return {
        b"event_type": b"market.klines",
        b"payload": payload,
        b"correlation_id": b"chaos",
        b"timestamp": b"2025-05-04T15:40:00+00:00",
        b"source": b"chaos",
    }


def _flat(candle: dict[str, Any], _rng: random.Random) -> Fields:
    return {
        name.encode(): (str(value).lower() if isinstance(value, bool) else str(value)).encode()
        for name, value in candle.items()
    }


def _kline_event(candle: dict[str, Any], rng: random.Random) -> Fields:
    kline = {
        "t": candle["open_time"],
        "T": candle["close_time"],
        "s": candle["symbol"],
        "i": candle["interval"],
        **{short: str(candle[name]) for short, name in KLINE_PRICES.items()},
        "v": "1.5",
        "x": candle["is_closed"],
    }
    event: Any = {"e": "kline", "E": candle["close_time"] + 5, "s": candle["symbol"], "k": kline}
    if rng.random() < 0.5:
        event = {"stream": "some@kline_1m", "data": event}
    return {rng.choice([b"data", b"payload"]): _json(event, rng)}


KLINE_PRICES: Final = {"o": "open", "c": "close", "h": "high", "l": "low"}


def _own(candle: dict[str, Any], rng: random.Random) -> Fields:
    packed = rng.random() < 0.5
    return {b"data": msgspec.msgpack.encode(candle) if packed else msgspec.json.encode(candle)}


def _json(value: Any, rng: random.Random) -> bytes:
    separators = rng.choice([(",", ":"), (", ", ": ")])
    return json.dumps(value, separators=separators, ensure_ascii=rng.random() < 0.5).encode()


def _bad_document(**changes: Any) -> Callable[[dict[str, Any]], Fields]:
    """A candle with other values; None removes the name."""

    def bad(candle: dict[str, Any]) -> Fields:
        document = {k: v for k, v in (candle | changes).items() if v is not None}
        return _enveloped(json.dumps(document).encode())

    return bad


BAD: Final[list[Callable[[dict[str, Any]], Fields]]] = [
    _bad_document(symbol=None),
    _bad_document(close=None),
    _bad_document(close=0),
    _bad_document(close=-1.5),
    _bad_document(close=float("nan")),
    _bad_document(close="much"),
    _bad_document(confirm=False),
    _bad_document(final="perhaps"),
    _bad_document(close_time=None),
    _bad_document(close_time=1_746_373_200),
    _bad_document(close_time=4_000_000_000_000),
    lambda candle: _enveloped(json.dumps(candle).encode()[:-9]),
    lambda _: _enveloped(b"no candle at all"),
    lambda _: _enveloped(b'{"symbol": "\xff\xfd", "close": 1.5}'),
    lambda candle: {b"data": msgspec.msgpack.encode(candle)[:-5]},
    lambda candle: {b"event_type": b"market.trades", b"payload": json.dumps(candle).encode()},
    lambda candle: {b"symbol": candle["symbol"].encode(), b"close": b"1.5"},
    lambda _: {b"colour": b"blue", b"shape": b"\x00\x01"},
]
