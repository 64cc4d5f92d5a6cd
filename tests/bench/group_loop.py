"""A peer of a worker: a plain loop around XREADGROUP, with windows in its own memory.

Hash, expiry, output entry and acknowledgement of a batch go into one pipeline. A restart loses all
windows, a crash repeats or loses outputs, and a second instance would mix up the order of closes.
"""

import json
from collections import defaultdict, deque
from typing import Any, Final

import numpy as np
import redis

from tests.bench.published_by_peers import EXPIRE_S, HASH, MAXLEN, hash_and_entry
from tests.support.candles import NEEDED, RING
from tests.support.worker_process import GROUP, INPUT, OUTPUT

BATCH: Final = 100


class GroupLoop:
    def __init__(self, port: int) -> None:
        self._client: Any = redis.Redis(port=port, protocol=2)
        self._client.xgroup_create(INPUT, GROUP, "0", mkstream=True)
        self._windows: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RING))

    def work(self) -> None:
        """Read and publish until the stream is empty."""
        while reply := self._client.xreadgroup(GROUP, "loop", {INPUT: ">"}, count=BATCH):
            ((_, entries),) = reply
            with self._client.pipeline(transaction=False) as writes:
                for _, fields in entries:
                    self._take(json.loads(fields[b"payload"]), writes)
                writes.xack(INPUT, GROUP, *(entry_id for entry_id, _ in entries))
                writes.execute()

    def close(self) -> None:
        self._client.close()

    def _take(self, candle: Any, writes: Any) -> None:
        symbol = candle["symbol"]
        window = self._windows[symbol]
        window.append(float(candle["close"]))
        if len(window) < NEEDED:
            return
        fields, entry = hash_and_entry(symbol, np.array(window), candle["close_time"] // 1_000)
        writes.hset(HASH + symbol, mapping=fields)
        writes.expire(HASH + symbol, EXPIRE_S)
        writes.xadd(OUTPUT, entry, maxlen=MAXLEN)
