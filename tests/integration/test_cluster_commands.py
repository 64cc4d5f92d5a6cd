"""Feeding, watching and reading partitions whose nodes are those of a Redis Cluster."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.schemas.candle import encode_envelope
from marketstate.schemas.market_state import MarketStateRecord, decode_record, encode_record
from marketstate.schemas.reader import StateReader, latest_state
from marketstate.worker.commands.gather.bridge import Bridge
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.stop import Stop
from tests.support.candles import made_candles
from tests.support.page_server import PageServer
from tests.support.redis_cluster import LocalCluster
from tests.support.replaying import candle_folder, run
from tests.support.small_workers import FILLED, small_worker, work_off
from tests.support.stepped_partitions import SYMBOLS, partition_workers, work_all_off
from tests.support.worker_process import INPUT, feed, published, wait_until

PARTITIONS = 3
CANDLES = made_candles(SYMBOLS, FILLED + 4)
HALF = 4 * FILLED


@pytest.fixture
def own_cluster(any_server_binary: Path) -> Iterator[LocalCluster]:
    """One of whose nodes may be stopped."""
    with LocalCluster(any_server_binary) as cluster:
        yield cluster


@pytest.mark.one_redis_version
# redis-py 6 warns of what it does itself.
@pytest.mark.filterwarnings("ignore:.*'cluster_error_retry_attempts':DeprecationWarning")
def test_from_one_redis_to_a_cluster_through_a_bridge_to_readers(
    server: EmbeddedRedis, client: redis.Redis, own_cluster: LocalCluster, tmp_path: Path
) -> None:
    """G2, G3: a group moves to a cluster, an upstream writes one stream there, and a program reads
    the states of all partitions: they are those of one group on one Redis.
    """
    feed(client, CANDLES)
    work_off(small_worker(server, start="replay"))
    wanted = {
        symbol: [fields[b"record"].decode() for fields in states]
        for symbol, states in published(client).items()
    }
    client.flushall()
    feed(client, CANDLES[:HALF])
    first = small_worker(server, start="replay")
    work_off(first)
    client.delete(first.keys.members)
    found = defaultdict(list)
    for symbol, states in published(client).items():
        found[symbol] = [fields[b"record"].decode() for fields in states]
    variables = tmp_path / "cluster.env"
    variables.write_text(f"MARKETSTATE_REDIS_URL={own_cluster.url}\n")
    words = ("repartition", "--to", PARTITIONS, "--environment", variables, "--yes")
    code, said = run(server, tmp_path, *words)
    assert code == 0, said

    on_cluster: dict[str, Any] = {"redis_url": own_cluster.url, "partitions": PARTITIONS}
    node = own_cluster.nodes[0]
    with redis.RedisCluster(host="127.0.0.1", port=node.port) as there:
        for candle in CANDLES[HALF:]:
            fields: Any = encode_envelope(candle, source="test")
            there.xadd(INPUT, fields)
        workers = partition_workers(server, **on_cluster)
        settings = workers[0].settings
        sources, stop = Sources([INPUT], "marketstate-gather", "0"), Stop()
        stop.requested = True
        bridge = Bridge(settings, sources, Counter(), max_length=1e5, max_backlog=1e4)
        for _ in range(3):
            bridge.work(stop)
        work_all_off(workers)
        reader = StateReader(
            there, group="sizing", consumer="one", partitions=PARTITIONS, start="0"
        )
        missing = sum(map(len, wanted.values())) - sum(map(len, found.values()))
        for state in islice(reader, missing):
            found[state.symbol].append(encode_record(state))
        assert found == wanted
        last = latest_state(there, "BTCUSDT", partitions=PARTITIONS)
        assert last is not None
        assert encode_record(last) == wanted["BTCUSDT"][-1]

    code, said = run(server, tmp_path, "status", **on_cluster)
    assert (code, "48 of 48 held" in said) == (0, True), said
    code, said = run(server, tmp_path, "verify", "--max-state-age", "inf", **on_cluster)
    assert (code, "4 of 4 states are byte for byte" in said) == (0, True), said
    with PageServer(server.port, tmp_path, "--max-age", "inf", **on_cluster) as served:
        _assert_it_shows(served, {symbol: decode_record(wanted[symbol][-1]) for symbol in wanted})
    history = candle_folder(tmp_path, 20)
    owners = [own_cluster.owner(worker.keys.input) for worker in workers]
    owners[1].__exit__(None, None, None)
    away = f"{owners.count(owners[1])} of 3 partitions cannot be read, such as"
    code, said = run(server, tmp_path, "replay", history, "--namespace", "past", **on_cluster)
    away_at = f"127.0.0.1:{owners[1].port}"
    assert (code, said.count(away_at)) == (3, 2), said
    code, said = run(server, tmp_path, "status", **on_cluster)
    assert (code, away in said, "  {p01} cannot be read: " in said) == (3, True, True), said


def _assert_it_shows(served: PageServer, last: dict[str, MarketStateRecord]) -> None:
    wait_until(lambda: served.ask("/healthz").status == 200, "it is healthy")
    shown = served.ask("/states.json").document
    assert shown["group"]["shards_held"] == 48
    assert {one["symbol"]: one["states"][0]["sigma"] for one in shown["markets"]} == {
        symbol: record.sigma for symbol, record in last.items()
    }
