"""The model of the markets that `top` and the page share, which follows the output streams."""

from collections.abc import Iterator

import pytest
import redis

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.schemas.reader import OUTPUT_STREAM
from marketstate.worker.commands.market_follower import MarketFollower
from marketstate.worker.commands.markets import Market, moved_on
from marketstate.worker.engine.all_partitions import AllPartitions
from marketstate.worker.engine.status import read_status
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import Settings, settings_from
from tests.support.records import make_record, publish
from tests.support.small_workers import SYMBOLS, worked

pytestmark = pytest.mark.one_redis_version


@pytest.fixture
def every(server: EmbeddedRedis) -> Iterator[AllPartitions]:
    opened = AllPartitions(settings_of(server))
    yield opened
    opened.close()


def settings_of(server: EmbeddedRedis) -> Settings:
    return settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})


def closes(market: Market) -> list[float]:
    return [record.close for record in market.recent]


def records(symbol: str, first: int, last: int) -> list[MarketStateRecord]:
    return [make_record(symbol, i, "trend" if i % 5 else "mr", close=i) for i in range(first, last)]


def test_of_a_backlog_only_the_newest_states_are_read_and_all_once_it_is_over(
    server: EmbeddedRedis, client: redis.Redis, every: AllPartitions
) -> None:
    """As if the follower had only begun then. What the stream no longer has stays."""
    follower = MarketFollower(every, settings_of(server))
    publish(client, [*records("CALM", 0, 1), *records("AAA", 0, 3)])
    found = follower.read()
    client.xtrim(OUTPUT_STREAM, maxlen=3, approximate=False)
    assert (closes(found.markets["AAA"]), found.is_behind, found.is_new) == (
        [0, 1, 2],
        False,
        False,
    )
    for first in (1_000, 2_000):
        publish(client, [*records("BBB", first, first + 1), *records("AAA", first, first + 1_000)])
        publish(client, records("BBB", first + 1, first + 2))
        found = follower.read()
        assert (found.is_behind, found.is_new, found.states_per_min) == (True, False, None)
        newest = {name: market.record.close for name, market in found.markets.items()}
        assert newest == {"CALM": 0, "AAA": first + 999, "BBB": first + 1}
    publish(client, records("AAA", 3_000, 3_001))
    after = follower.read()
    assert (after.is_behind, after.is_new, after.states_per_min) == (False, True, 2_008)
    (calm,) = records("CALM", 0, 1)
    as_at_first = MarketFollower(every, settings_of(server)).read().markets
    assert after.markets == {**as_at_first, "CALM": moved_on(None, calm)}
    assert closes(after.markets["AAA"])[-1_002:] == [*range(1_999, 3_001)]
    again = follower.read()
    assert (again.markets, again.is_new) == (after.markets, False)


def test_a_market_that_is_retired_is_forgotten_with_its_state(
    server: EmbeddedRedis, client: redis.Redis, every: AllPartitions
) -> None:
    """One that another program publishes stays while its state does."""
    worker = worked(server, client)
    follower = MarketFollower(every, settings_of(server))
    publish(client, [make_record("OTHER", 0)])
    known = {*SYMBOLS, "OTHER"}
    gone, stays = SYMBOLS

    def shown() -> set[str]:
        """As of the reading after the one that completed it."""
        follower.read()
        follower.complete(every.ask(read_status))
        return set(follower.read().markets)

    client.delete(worker.keys.record(stays))
    assert shown() == known
    client.delete(worker.keys.record(gone))
    assert shown() == known
    for shard in range(worker.settings.shards):
        client.hdel(worker.keys.marks(shard), gone)
    assert shown() == known - {gone}
    client.delete(worker.keys.record("OTHER"))
    assert shown() == {stays}
