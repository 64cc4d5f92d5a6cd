"""Candle caches of other programs that hold nonsense: they are passed over."""

import json
import random
from typing import Final

from tests.fault.chaos.entries import new_candle
from tests.fault.chaos.names import CACHE_PATTERN
from tests.fault.chaos.notes import Command
from tests.fault.chaos.stage import Stage, Steps, until_or

MOST_AT_ONCE: Final = 6
# A value that makes the whole cache unusable, and the score it has in a sorted set.
VALUES: Final[tuple[bytes, ...]] = (
    b'{"close": 1.0, "t": 1e400}',
    b'{"close": 1.0, "t": ' + b"9" * 400 + b"}",
    b'{"close": 1.0, "T": -1e308}',
    b'{"close": ' + b"9" * 400 + b"}",
    b'{"close": 1e400}',
    b'{"close": NaN, "t": 1746373200000}',
    b'{"close": -1, "t": 1746373200000}',
    b'{"close": 0}',
    b'{"close": "1.0\\u0000"}',
    b'{"close": [1.0]}',
    b'{"c": {}}',
    b"[" * 5_000,
    b"[1, 2, 3]",
    b"9" * 100_000,
    b"nan",
    b"\xff\xfe",
    b"",
)
SCORES: Final = ("inf", "-inf", "1e300", "-1", "0", "1746373200000")


def cache_damaged(stage: Stage, rng: random.Random) -> Steps:
    """Each for a symbol that nobody knows yet, which then has its first candle."""
    passed_over = stage.processes.said("is not used")
    candles: list[Command] = []
    for _ in range(rng.randint(1, MOST_AT_ONCE)):
        symbol = stage.new_symbol("CACHED")
        key = CACHE_PATTERN.replace("{symbol}", symbol)
        damaged = _cache(key, rng)
        stage.servers.server_of(key).command(*damaged)
        candle = new_candle(symbol, stage.feeder.first_close_ms)
        candles.append(("EXTRA", "payload", json.dumps(candle)))
    stage.note(f"{len(candles)} damaged caches, such as {damaged!r:.200}")
    stage.act(candles)
    return (yield from until_or(lambda: stage.processes.said("is not used") > passed_over))


def _cache(key: str, rng: random.Random) -> Command:
    value = rng.choice(VALUES)
    match rng.choice(["zset", "list", "string", "hash", "stream"]):
        case "zset":
            return ("ZADD", key, rng.choice(SCORES), value, "1746373200000", b"100.0")
        case "list":
            return ("RPUSH", key, b"100.0", value, b"100.0")
        case "string":
            return ("SET", key, value)
        case "hash":
            return ("HSET", key, "close", value)
        case _:
            return ("XADD", key, "*", "close", value)
