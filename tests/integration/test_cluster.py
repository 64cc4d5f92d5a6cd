"""A worker on a Redis Cluster of three masters: connections, caches, and slots that move."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from marketstate.core.theta import merged_theta
from marketstate.schemas.partitions import partition_of, tag
from marketstate.worker.engine.preflight import VERSION, preflight
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.log import log
from marketstate.worker.settings import Settings, settings_from
from marketstate.worker.store.connection import open_client, other_keys
from marketstate.worker.store.other_keys import KeyUnreadable, Question
from marketstate.worker.store.refusal import is_transient, refuses_for_now
from tests.support.acl import set_user
from tests.support.candles import MINUTE_MS, START_MS, made_candles
from tests.support.cluster_nodes import end_moving, keys_in, move_keys, start_moving
from tests.support.redis_cluster import ClusterNode, LocalCluster, url_of
from tests.support.steps import SteppedWorker
from tests.support.worker_process import everything, feed_fields
from tests.support.worker_process import feed as feed_to

PARTITIONS = 8


def given_for(cluster: LocalCluster, partition: int) -> dict[str, Any]:
    return {"redis_url": cluster.url, "partitions": PARTITIONS, "partition": partition}


def settings_of(cluster: LocalCluster, partition: int = 0, **more: Any) -> Settings:
    given = {"theta": merged_theta(None)} | given_for(cluster, partition)
    return Settings(**(given | more))


def stepped(cluster: LocalCluster, partition: int = 0, worker_id: str = "one") -> SteppedWorker:
    """The same worker each time: it begins a new session."""
    given = given_for(cluster, partition)
    return SteppedWorker(cluster.nodes[0], worker_id, worker_id, **given)


def verdicts(settings: Settings) -> list[str]:
    """Without that on the version of the server that the tests happen to run on."""
    return [found.verdict for found in preflight(settings) if found.subject != VERSION]


def symbol_of(partition: int) -> str:
    names = (f"COIN{number}USDT" for number in range(1_000))
    return next(name for name in names if partition_of(name, PARTITIONS) == partition)


def feed(cluster: LocalCluster, worker: SteppedWorker, numbers: range) -> None:
    """Candles of one symbol of its partition."""
    symbol = symbol_of(worker.settings.partition or 0)
    with cluster.owner(worker.keys.input).client() as client:
        feed_to(
            client, made_candles((symbol,), 400)[numbers.start : numbers.stop], worker.keys.input
        )


def others(cluster: LocalCluster, key: str) -> list[ClusterNode]:
    return [node for node in cluster.nodes if node is not cluster.owner(key)]


def test_each_partition_has_its_connection_to_the_node_of_its_keys(cluster: LocalCluster) -> None:
    for partition in range(PARTITIONS):
        worker = stepped(cluster, partition)
        assert len(worker.keep()) == 16
        assert cluster.owner(tag(partition)).command("EXISTS", worker.keys.meta) == 1
    assert sum(node.command("DBSIZE") > 0 for node in cluster.nodes) > 1


@pytest.mark.parametrize("backwards", [False, True])
def test_a_slot_that_moves_key_by_key_lets_no_script_begin(
    backwards: bool, cluster: LocalCluster
) -> None:
    """G3: a script that began would break off at the first key that has gone, half done."""
    worker = stepped(cluster)
    make_every_key(cluster, worker)
    feed(cluster, worker, range(300, 400))
    changes = worker.advance(worker.fetch())
    source, target = cluster.owner(worker.keys.input), others(cluster, worker.keys.input)[0]
    slot = key_slot(worker.keys.input.encode())
    with source.client() as client:
        before = everything(client)
    start_moving(slot, source, target)
    keys = sorted(keys_in(source, slot, 1_000), reverse=backwards)
    for key in [None, *keys]:
        if key:
            move_keys([key], source, target)
        for step in (
            worker.keep,
            worker.fetch,
            lambda: worker.apply(changes),
            worker.shards.release,
        ):
            with pytest.raises(redis.ResponseError) as refused:
                step()
            assert isinstance(refused.value, (AskError, TryAgainError)), refused.value
            assert is_transient(refused.value)
    end_moving(slot, source, target)
    with target.client() as client:
        assert everything(client) == before
    with pytest.raises(MovedError):
        worker.keep()
    again = stepped(cluster)
    assert len(again.keep()) == 16
    assert again.finish_all() == 100


def make_every_key(cluster: LocalCluster, worker: SteppedWorker) -> None:
    """All that a script may name: one that is not there would be noticed in any case."""
    other = stepped(cluster, worker_id="other")
    for each in (worker, other, worker, other):
        each.keep()
    feed(cluster, worker, range(300))
    with cluster.owner(worker.keys.input).client() as client:
        feed_fields(client, [{"symbol": "bad"}], worker.keys.input)
        worker.fetch()
        worker.finish_all()
        other.finish_all()
        other.shards.release()
        assert len(worker.keep()) == 16
        names = [worker.keys.handed_over, worker.keys.notices, worker.keys.dead_stream]
        assert client.exists(*names) == len(names)


def test_a_cache_is_read_from_whichever_node_it_is_on(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, log.name)
    worker = stepped(cluster)
    worker.keep()
    symbol = symbol_of(0)
    caches = [pattern.replace("{symbol}", symbol) for pattern in worker.settings.backfill_patterns]
    elsewhere = [each for each in caches if cluster.owner(each) in others(cluster, tag(0))]
    values = {
        f'{{"c": {100 + number % 7}}}{" " * number}': START_MS - MINUTE_MS * (number + 1)
        for number in range(257)
    }
    with cluster.owner(elsewhere[0]).client() as client:
        client.zadd(elsewhere[0], values)
    feed(cluster, worker, range(1))
    assert len(worker.advance(worker.fetch()).records) == 1
    assert f"{symbol}: 257 closes from the cache {elsewhere[0]}" in caplog.text


def test_a_node_with_caches_that_fails_is_asked_once_and_not_waited_for(
    any_server_binary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: it may be the node of another partition; this one goes on. And if each key cost a
    timeout, leases would expire meanwhile.
    """
    with LocalCluster(any_server_binary) as cluster:
        worker = stepped(cluster)
        worker.keep()
        feed(cluster, worker, range(5))
        ours = cluster.owner(worker.keys.input)
        gone, hangs_up = others(cluster, worker.keys.input)
        keys = [f"key-{number}" for number in range(30)]
        expected = [cluster.owner(key) in (gone, hangs_up) for key in keys]
        gone.kill()
        hangs_up.kill()
        settings = settings_of(cluster, redis_url=url_of(ours))
        with hanging_up(hangs_up.port) as connected, other_keys(settings, redis.Redis()) as caches:
            replies = caches.replies([Question(key, partial(read_type, key)) for key in keys])
        assert [isinstance(reply, KeyUnreadable) for reply in replies] == expected
        assert len(connected) == 1
        assert worker.finish_all() == 5
        assert "is not used: Error 111 connecting to 127.0.0.1" in caplog.text


def read_type(key: str, reads: redis.Redis) -> object:
    return reads.type(key)


@contextmanager
def hanging_up(port: int) -> Iterator[list[socket.socket]]:
    """Every connection to the port is closed at once; those that there were."""
    connected = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def close_each() -> None:
            with suppress(OSError):
                while True:
                    found, _ = listener.accept()
                    connected.append(found)
                    found.close()

        thread = threading.Thread(target=close_each)
        thread.start()
        yield connected
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_plain_url_to_a_node_says_what_to_set(cluster: LocalCluster) -> None:
    node = cluster.nodes[0]
    settings = settings_from({"MARKETSTATE_REDIS_PORT": str(node.port)})
    with pytest.raises(RedisUnusable, match="set MARKETSTATE_PARTITIONS, and MARKETSTATE_REDIS_U"):
        list(preflight(settings))
    moved = settings_of(cluster, redis_url="", redis_port=node.port)
    partition = next(each for each in range(PARTITIONS) if cluster.owner(tag(each)) is not node)
    with pytest.raises(RedisUnusable, match="leaves these keys to another node"):
        list(preflight(replace(moved, partition=partition)))


def test_a_cluster_url_to_a_redis_that_is_none(server: EmbeddedRedis) -> None:
    url = f"redis+cluster://127.0.0.1:{server.port}"
    settings = Settings(theta=merged_theta(None), redis_url=url, partitions=1, partition=0)
    with pytest.raises(RedisUnusable, match="is not part of a cluster"):
        list(preflight(settings))


def test_the_user_of_the_deployment_may_do_all_that_is_needed(cluster: LocalCluster) -> None:
    who = {"redis_username": "marketstate", "redis_password": "of-the-workers"}
    for node in cluster.nodes:
        with node.client() as client:
            set_user(client, "marketstate", "of-the-workers")
    for partition in range(3):
        settings = settings_of(cluster, partition, **who)
        assert verdicts(settings) == ["ok"] * 6
    for node in cluster.nodes:
        node.command("ACL", "SETUSER", "marketstate", "-cluster")
    with pytest.raises(RedisUnusable, match="does not allow the user 'marketstate' CLUSTER SLOTS"):
        list(preflight(settings))
    wrong = settings_of(cluster, redis_username="marketstate", redis_password="another")
    with pytest.raises(RedisUnusable, match="refuses this user or password"):
        list(preflight(wrong))


def test_any_node_of_the_url_is_enough(any_server_binary: Path) -> None:
    with LocalCluster(any_server_binary) as cluster:
        served = [cluster.owner(tag(partition)) for partition in range(PARTITIONS)]
        gone = others(cluster, tag(0))
        for node in gone:
            node.kill()
        assert len(stepped(cluster).keep()) == 16
        with pytest.raises(redis.ConnectionError, match="Connection refused") as unknown:
            open_client(settings_of(cluster, redis_url=url_of(*gone)), block_s=0)
        assert not refuses_for_now(unknown.value)
        for _ in range(10):
            # Not hidden by the nodes that are away, whichever is asked last.
            nobody = settings_of(cluster, redis_username="nobody", redis_password="wrong")
            with pytest.raises(redis.AuthenticationError):
                open_client(nobody, block_s=0)
        away = next(each for each in range(PARTITIONS) if served[each] in gone)
        with pytest.raises(ClusterDownError, match="Connection refused") as refused:
            open_client(settings_of(cluster, away), block_s=0)
        assert refuses_for_now(refused.value), (
            "a worker that starts waits for a node that was named"
        )


def test_nodes_are_found_at_whatever_address_they_announce(server_binary: Path) -> None:
    announced = ("--bind", "127.0.0.1", "::1", "--cluster-announce-ip", "::1")
    with LocalCluster(server_binary, *announced, masters=1) as cluster:
        [node] = cluster.nodes

        def host() -> object:
            with open_client(settings_of(cluster), block_s=0) as client:
                client.ping()
                return client.connection_pool.connection_kwargs["host"]

        assert host() == "::1"
        plain = settings_of(cluster, redis_url="", redis_host="::1", redis_port=node.port)
        assert verdicts(plain) == ["ok"] * 6
        with open_client(
            settings_of(cluster, redis_url=f"redis+cluster://[::1]:{node.port}"), block_s=0
        ) as client:
            assert client.ping()
        if node.command("INFO", "server")["redis_version"] < "7":
            return
        node.command("CONFIG", "SET", "cluster-announce-hostname", "localhost")
        for endpoint, expected in (("hostname", "localhost"), ("unknown-endpoint", "127.0.0.1")):
            node.command("CONFIG", "SET", "cluster-preferred-endpoint-type", endpoint)
            assert host() == expected
