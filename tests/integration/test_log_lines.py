"""What a worker says of ordinary events: a first start, and shards that change hands."""

import logging

import pytest
import redis

from marketstate.worker.engine.group import join
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.log import log
from marketstate.worker.store.scripts import Scripts
from tests.support.candles import made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import feed


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are for `caplog`, from which `new` takes them."""
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "filters", [])
    caplog.set_level(logging.INFO, logger=log.name)


def new(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    caplog.clear()
    return found


@pytest.mark.usefixtures("heard")
def test_a_first_start_is_not_a_warning_and_a_redis_that_came_back_empty_is(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    worker = SteppedWorker(server, "one")
    of_it = "the group marketstate on quantum:stream:market.klines"
    assert new(caplog) == [f"INFO created {of_it}"]
    client.flushall()
    join(Scripts(client), worker.settings, again=True)
    assert new(caplog) == [f"WARNING created {of_it} again: Redis has come back empty"]


@pytest.mark.usefixtures("heard")
def test_a_rebalance_is_one_line(server: EmbeddedRedis, caplog: pytest.LogCaptureFixture) -> None:
    first = SteppedWorker(server, "first")
    second = SteppedWorker(server, "second")
    first.keep()
    assert new(caplog)[-1] == "INFO holding 16 of 16 shards"
    second.keep()
    assert new(caplog) == []
    first.keep()
    assert new(caplog) == ["INFO holding 8 of 16 shards; 8 were released or lost"]
    second.keep()
    assert new(caplog) == ["INFO holding 8 of 16 shards"]
    first.keep()
    assert new(caplog) == []


@pytest.mark.usefixtures("heard")
def test_a_day_in_which_every_state_had_one_regime_is_told(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The first day of these candles ends after 500 of them, and the first state needs 257."""
    worker = SteppedWorker(server, "one", start="replay")
    worker.keep()
    feed(client, made_candles(("AAA",), 500))
    worker.finish_all()
    assert [line for line in new(caplog) if line.startswith("WARNING")] == []
    feed(client, made_candles(("AAA",), 501)[500:])
    worker.finish_all()
    [told] = [line for line in new(caplog) if line.startswith("WARNING")]
    assert told.startswith(
        "WARNING AAA: all 244 states of 2025-05-04 that this worker published were chop, which"
    )
