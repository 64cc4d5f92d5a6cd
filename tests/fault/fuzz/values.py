"""Odd values: what a field of a candle should never hold, and what somebody will send one day."""

import json
from random import Random
from typing import Any, Final

from tests.support.candles import MINUTE_MS, START_MS

SYMBOLS: Final = (
    *("BTCUSDT", "ETHUSDT", "SOLUSDT", "1000SHIBUSDT", "BTC-27", "btcusdt", "X"),
    *('A"B', "A\\B", "A/B", "{A}", "A:B", "ΞTH", "💰", "\u0301X", "x" * 64, "\u115f", "null"),
)
# Seldom enough candles for any symbol to fill a window in between.
ODD_SYMBOLS: Final = (
    *("", " ", "A B", "A\nB", "A\0", "\0", "x" * 65, "\u200b", "\u202eA", "\ufeffA", "\u3000"),
    *("\x7f", "\x1b[2J", "A\u00a0", "\ue000", "\U000e0001"),
)
# As they stand in JSON: what a reader may take for something, and must not.
RAW: Final = (
    *("NaN", "-NaN", "Infinity", "-Infinity", "nan", "inf", "1e999", "-1e999", "1E400", "1e-400"),
    *("0", "-0", "-0.0", "01", "+1", ".5", "1.", "1e", "1e+", "0x10", "1_0", "-", "--1", "1.5.5"),
    *("null", "true", "false", "nul", "True", "None", "undefined", "''", "{}", "[]", "[1,]", "{,}"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616"),
    *("1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5_000, "0." + "0" * 400 + "1", "1e308"),
    *("5e-324", "4.9e-324", "1.7976931348623157e308", "1.7976931348623159e308", "1e22", "123e-7"),
    *(
        '"nan"',
        '"inf"',
        '"Infinity"',
        '"-inf"',
        '"1e400"',
        '"1_0"',
        '" 1"',
        '"1 "',
        '"+1"',
        '"0x1"',
    ),
    *('"\\u0661"', '"1\\n"', '"1\\u0000"', '"1' + "0" * 400 + '"', '"1' + "0" * 5_000 + '"'),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\udcb0"', '"\\u00"', '"\\x41"', '"\\/"', '"\t"'),
    *('"\x00"', '"\x7f"', '"\\u0000"', '"\\"', '"', '"1m\\n"', '"1m"', '"60s"', '"١m"', '"0m"'),
    *(
        '{"symbol":"OTHER"}',
        '{"data":{"symbol":"OTHER"}}',
        '[{"symbol":"OTHER"}]',
        "[" * 40 + "]" * 40,
    ),
    *('{"e":"kline","s":"OTHER"}', '{"a":' * 40 + "1" + "}" * 40, "[" * 1_100 + "]" * 1_100),
)
INTERVALS: Final = (
    *("1m\n", "1m\r\n", "\n1m", "1m ", " 1m", "1m\0", "60s", "5m", "1M", "", "m", "0m", "01m", "1"),
    *("\u0661m", "9999w", "10000m", "9" * 400 + "m", "1m1m", "-1m", "1.0m", "1_0m", "1\u200bm"),
)
CLOSES: Final = (100.0, 100.5, 99.25, 1e-9, 37_001.125, 5e-324, 1.7976931348623157e308)

FLAGS: Final = (
    *("is_closed", "isClosed", "closed", "confirm", "x"),
    *("is_final", "isFinal", "final", "complete"),
)
CLOSED: Final = (True, True, True, 1, "true", "True", "TRUE", "1")
NOT_CLOSED: Final = (False, False, False, 0, "false", "False", "FALSE", "0")
PRICES: Final = ("open", "high", "low", "volume", "open_time")
# What may stand beside a good close.
BESIDE: Final = (0, 0.0, -1, "", "n/a", None, True, 1e308)


def symbol(rng: Random) -> str:
    chance = rng.random()
    if chance < 0.9:
        return rng.choice(SYMBOLS)
    if chance < 0.97:
        return rng.choice(ODD_SYMBOLS)
    return "".join(chr(rng.choice((rng.randrange(0xD800), rng.randrange(128)))) for _ in range(5))


def close_time_ms(rng: Random, minute: int) -> int:
    """Mostly a little later than the one before, so that candles are applied."""
    chance = rng.random()
    if chance < 0.9:
        # Of two feeds, or after an outage.
        later_ms = rng.choice((0, 0, 0, 0, 0, 0, 1, -1, 28_200, 31_800))
        return START_MS - 1 + MINUTE_MS * (minute + rng.randrange(-2, 3)) + later_ms
    return rng.choice((0, -1, 10**9, 1_746_373_259, 10**15, 10**18, 2**53, 2**63, 2**64, -(2**63)))


def candle(rng: Random, minute: int) -> dict[str, Any]:
    """A candle that is almost always right."""
    close = rng.choice(CLOSES) if rng.random() < 0.4 else round(rng.uniform(1, 1_000), 3)
    time_ms = close_time_ms(rng, minute)
    found = {"symbol": symbol(rng), "close": close, "close_time": time_ms, "interval": "1m"}
    if rng.random() < 0.04:
        found["interval"] = rng.choice(INTERVALS)
    if rng.random() < 0.5:
        found |= {"open": close, "high": close, "low": close, "volume": 1.0}
    if rng.random() < 0.3:
        found |= {flag(rng): closed(rng), "open_time": time_ms - 59_999}
    if rng.random() < 0.02:
        found |= {rng.choice(PRICES): rng.choice(BESIDE), flag(rng): closed(rng)}
    return found


def flag(rng: Random) -> str:
    return "is_closed" if rng.random() < 0.5 else rng.choice(FLAGS)


def closed(rng: Random) -> Any:
    return rng.choice(CLOSED if rng.random() < 0.9 else NOT_CLOSED)


def kline_event(rng: Random, minute: int) -> dict[str, Any]:
    of = candle(rng, minute)
    price = str(of["close"])
    kline = {
        "t": of["close_time"] - 59_999,
        "T": of["close_time"],
        "s": of["symbol"],
        "i": of["interval"],
    }
    kline |= {"o": price, "c": price, "h": price, "l": price, "v": "1", "x": rng.random() < 0.9}
    return {"e": "kline", "E": of["close_time"] + 5, "s": of["symbol"], "k": kline}


def any_value(rng: Random, depth: int = 0) -> str:
    """In JSON."""
    chance = rng.random()
    if chance < 0.6:
        return rng.choice(RAW)
    if chance < 0.7:
        return json.dumps(symbol(rng), ensure_ascii=rng.random() < 0.5)
    if chance < 0.8 or depth > 3:
        return repr(rng.choice((rng.random(), rng.randrange(-(2**65), 2**65))))
    inner = [any_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    if chance < 0.9:
        return "[" + ",".join(inner) + "]"
    return "{" + ",".join(f'"{rng.choice("seksdx")}":{value}' for value in inner) + "}"
