"""A batch that uses every command of a commit, in many places, and what a commit of it leaves."""

from typing import Any, Final, NamedTuple

import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import MINUTE_MS, START_MS, as_envelope, candle
from tests.support.feeding import SMALL_THETA
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    dead_letters,
    published,
)

SHARDS: Final = 4
# One on each shard, and two new ones.
KNOWN: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")
NEW: Final = ("ADAUSDT", "XRPUSDT")
SHORTENED: Final = "DOGEUSDT"
FED_MS: Final = START_MS + 120 * MINUTE_MS
COMMITS: Final = f"{INTERNAL_PREFIX}:commits"


class Seen(NamedTuple):
    """What can be read of a group from outside, ids of outputs and dead letters apart."""

    published: dict[str, list[dict[bytes, bytes]]]
    dead: list[dict[bytes, bytes]]
    hashes: dict[bytes, dict[bytes, bytes]]
    """States, marks, counters and all bookkeeping."""
    records: dict[bytes, bytes]
    windows: dict[bytes, list[bytes]]
    pending: int

    def states(self) -> dict[bytes, dict[bytes, bytes]]:
        return {key: fields for key, fields in self.hashes.items() if b"-worker:" not in key}


def seen(client: redis.Redis) -> Seen:
    hashes: dict[bytes, Any] = {}
    records: dict[bytes, Any] = {}
    windows: dict[bytes, Any] = {}
    keys: Any = client.keys("*")
    for key in keys:
        kind: Any = client.type(key)
        if kind == b"hash" and not key.endswith((b":commits", b":members")):
            hashes[key] = client.hgetall(key)
        elif kind == b"string" and b"-record:" in key:
            records[key] = client.get(key)
        elif kind == b"list":
            windows[key] = client.lrange(key, 0, -1)
    pending: Any = client.xpending(INPUT, GROUP)
    outputs, dead = published(client), dead_letters(client)
    return Seen(outputs, dead, hashes, records, windows, pending["pending"])


def new_worker(server: EmbeddedRedis, worker_id: str, **changes: Any) -> SteppedWorker:
    small: dict[str, Any] = {
        "shards": SHARDS,
        "theta": SMALL_THETA,
        "window_size": 12,
        "start": "replay",
        "publish_interval": 120,
        "retire_after": "1h",
    }
    return SteppedWorker(server, worker_id, **(small | changes))


def feed_first(client: redis.Redis) -> None:
    """So that the known symbols have nearly full windows, and a state."""
    _feed(
        client,
        FED_MS,
        [as_envelope(candle(symbol, i, 100 + i % 5)) for i in range(11) for symbol in KNOWN],
    )


def feed_batch(client: redis.Redis) -> None:
    """Closes of all symbols, many of the new ones, dead letters, a duplicate, a late one, a gap,
    and one after which a window starts over.
    """
    fields: list[Any] = []
    for i in range(11, 14):
        fields += [as_envelope(candle(symbol, i, 100 + i % 5)) for symbol in KNOWN]
        fields.append({"payload": f'{{"symbol": "BTCUSDT", "close": -{i}}}'})
    fields += [as_envelope(candle(symbol, i, 50 + i % 7)) for i in range(15) for symbol in NEW]
    fields += [
        {"no": "candle"},
        as_envelope(candle("BTCUSDT", 13, 103.0)),
        as_envelope(candle("ETHUSDT", 2, 1.0)),
        as_envelope(candle("SOLUSDT", 17, 99.0)),
        as_envelope(candle("SOLUSDT", 17 + 60, 98.0)),
    ]
    _feed(client, FED_MS + 20 * MINUTE_MS, fields)


def _feed(client: redis.Redis, ms: int, entries: list[Any]) -> None:
    """Under ids that are the same in each run: dead letters name them."""
    with client.pipeline(transaction=False) as writes:
        for i, fields in enumerate(entries):
            writes.xadd(INPUT, fields, id=f"{ms}-{i + 1}")
        writes.execute()


def before_and_after(
    server: EmbeddedRedis, client: redis.Redis, **changes: Any
) -> tuple[Seen, Seen]:
    """What is seen before and after the batch in a run without faults; then Redis is empty."""
    worker = worker_at_the_batch(server, client, "undisturbed", **changes)
    readings = worker.fetch()
    before = seen(client)
    worker.apply(worker.advance(readings))
    after = seen(client)
    assert worker.fetch() == []
    client.flushall()
    return before, after


def worker_at_the_batch(
    server: EmbeddedRedis, client: redis.Redis, worker_id: str = "first", /, **changes: Any
) -> SteppedWorker:
    """It has everything behind it but the batch, which waits."""
    earlier = new_worker(server, "earlier", **changes)
    earlier.keep()
    feed_first(client)
    earlier.finish_all()
    earlier.leave()
    _shorten_a_window(client, earlier.keys.window(SHORTENED))
    worker = new_worker(server, worker_id, **changes)
    worker.keep()
    feed_batch(client)
    return worker


def _shorten_a_window(client: redis.Redis, window: str) -> None:
    """So that the batch writes all of it again, with the closes of a cache in front."""
    client.ltrim(window, -3, -1)
    client.delete(f"candles:{SHORTENED}:1m")
    for i in range(11):
        close_ms = candle(SHORTENED, i, 1.0).close_time
        client.zadd(
            f"candles:{SHORTENED}:1m", {f'{{"close":{100 + i % 5},"i":{i}}}': close_ms - 59_999}
        )
