"""The thread that reads Redis for all pages, with a clock that is moved."""

import math
import queue
from types import SimpleNamespace

import pytest
import redis

from marketstate.worker.commands.limits import Limits
from marketstate.worker.commands.serve import reader
from marketstate.worker.commands.serve.document import GroupDocument
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.processes import PATIENCE_S
from tests.support.steps import SteppedWorker
from tests.support.worker_process import feed

pytestmark = pytest.mark.one_redis_version


def test_the_candles_of_the_last_minute_are_those_that_were_applied_in_it(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: now_s))
    worker = SteppedWorker(server, "one", lease_seconds=600)
    worker.keep()
    told = queue.SimpleQueue[reader.News]()
    reading = reader.Reader(worker.settings, Limits(math.inf, math.inf), told.put, per_symbol=False)

    def group() -> GroupDocument:
        """When it was read next."""
        while (found := told.get(timeout=PATIENCE_S).groups.get("1m")) is None:
            pass
        return found

    reading.start()
    first = group()
    assert (first.lag, first.candles_per_min) == (0, None)
    feed(client, made_candles(("BTCUSDT", "ETHUSDT"), 50))
    worker.finish_all()
    now_s = 60.0
    assert group().candles_per_min == 100
    reading.stop()
    assert reading.failure is None
