"""Feeds as people have them: two of one market, and updates of candles that have not closed."""

from typing import Any

import pytest
import redis
from msgspec.structs import replace

from marketstate.schemas.reader import latest_state
from marketstate.worker.commands.verify.command import verify
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import candle, made_candles
from tests.support.feeding import SMALL_THETA
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INPUT, counters, feed

HOUR_MS = 3_600_000


def worked(server: EmbeddedRedis, **settings: Any) -> SteppedWorker:
    worker = SteppedWorker(server, "one", start="replay", **settings)
    worker.keep()
    worker.finish_all()
    return worker


def state(client: redis.Redis) -> Any:
    return latest_state(client, "BTCUSDT")


def test_two_feeds_of_which_one_closes_a_millisecond_later_give_the_state_of_one(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Both were applied: sigma was 12 % off, dp 0, and verify said ok."""
    candles = made_candles(("BTCUSDT",), 300)
    feed(client, candles)
    worked(server)
    expected = state(client)
    client.flushall()
    later = [replace(one, close_time=one.close_time + 1) for one in candles]
    feed(client, [each for pair in zip(candles, later, strict=True) for each in pair])
    worker = worked(server)
    assert counters(client) == {"applied": 300, "duplicate": 300, "emitted": 44}
    assert state(client) == expected
    findings = list(verify(worker.settings, max_state_age_s=1e12))
    assert {finding.verdict for finding in findings} == {"ok"}


@pytest.mark.parametrize("flag", ["closed", "confirm", "x", None])
@pytest.mark.parametrize("spelled", ["True", "1"])
def test_of_four_updates_of_a_candle_the_last_one_is_the_close(
    flag: str | None, spelled: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The first one was: 91,645 instead of 90,851."""
    no = {"True": "False", "1": "0"}[spelled]
    for number in range(12):
        close_time = candle("BTCUSDT", 0, 1.0).close_time + number * HOUR_MS
        for minutes in (45, 30, 15, 0):
            fields: dict[Any, Any] = {"symbol": "BTCUSDT", "close_time": close_time}
            fields["close"] = 90_851 + number + minutes
            if flag:
                fields[flag] = no if minutes else spelled
            client.xadd(INPUT, fields, id=f"{close_time - minutes * 60_000}-0")
    settings: dict[str, Any] = {"theta": SMALL_THETA, "window_size": 12, "candle_interval": "1h"}
    worker = worked(server, **settings)
    assert counters(client) == {"applied": 12, "unclosed": 36, "emitted": 4}
    assert state(client).close == 90_851 + 11
    ((_, _, memory),) = worker.shards.remembered()
    assert memory.window.closes().tolist() == [90_851.0 + number for number in range(12)]
