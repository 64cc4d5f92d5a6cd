"""A peer of a worker: a publisher that polls candle caches, as the published one does.

For each symbol it reads a cache of 300 candles, calculates, and writes hash, expiry and output
entry, one command after the other. It keeps no window in Redis, reads every candle 300 times,
publishes a state twice or never if its clock and the candles' differ, and cannot run twice.
"""

import json
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import redis
import redis.asyncio

from tests.bench.published_by_peers import EXPIRE_S, HASH, MAXLEN, hash_and_entry
from tests.support.candles import NEEDED, RING
from tests.support.worker_process import OUTPUT


async def publish_all(port: int, symbols: Iterable[str]) -> None:
    """One round, which the published one makes each minute."""
    client: Any = redis.asyncio.Redis(port=port, decode_responses=True)
    for symbol in symbols:
        cached = await client.zrevrange(cache_of(symbol), 0, RING - 1)
        closes = np.array([float(json.loads(candle)["close"]) for candle in reversed(cached)])
        if len(closes) < NEEDED:
            continue
        fields, entry = hash_and_entry(symbol, closes, int(time.time()))
        await client.hset(HASH + symbol, mapping=fields)
        await client.expire(HASH + symbol, EXPIRE_S)
        await client.xadd(OUTPUT, entry, maxlen=MAXLEN)
    await client.aclose()


def fill_caches(client: redis.Redis, entries: Iterable[Any]) -> None:
    """Put the candles of input entries into the caches, as another program does."""
    with client.pipeline(transaction=False) as writes:
        for fields in entries:
            candle = json.loads(fields["payload"])
            writes.zadd(cache_of(candle["symbol"]), {fields["payload"]: candle["close_time"]})
        writes.execute()


def cache_of(symbol: str) -> str:
    return f"candles:{symbol}:1m"
