"""What a Redis loses or doubles as it reads its append-only log: `check` warns of the one,
BGREWRITEAOF prevents the other.
"""

import os
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from marketstate.worker.engine.preflight import preflight
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import Settings
from tests.support.acl import users
from tests.support.candles import made_candles
from tests.support.cluster_nodes import is_well
from tests.support.redis_cluster import LocalCluster
from tests.support.redis_versions import version_of
from tests.support.steps import SteppedWorker
from tests.support.worker_process import everything, feed, wait_until

PASSWORD: Final = "of-the-worker"
AS_WORKER: Final[dict[str, Any]] = {"redis_username": "marketstate", "redis_password": PASSWORD}
WITH_LOG: Final = ("--appendonly", "yes", "--appendfsync", "always")
WRITES_TWO_KEYS: Final = "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 2)"


class OwnUsers(EmbeddedRedis):
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2, username="admin", password=PASSWORD)


def warnings(settings: Settings) -> list[str]:
    return [each.text for each in preflight(settings) if each.subject == "append-only log"]


@pytest.mark.parametrize(
    ("default", "is_limited"),
    [("on nopass ~other:* &* +@all", True), ("off nopass ~* &* +@all", False)],
    ids=["limited", "off"],
)
def test_commits_that_a_limited_default_user_would_lose(
    default: str, is_limited: bool, server_binary: Path, tmp_path: Path
) -> None:
    """Redis from 7.0 on: to switch that user off, and its rights with it, is usual advice. Nothing
    was said, and after a restart all commits were gone.
    """
    rules = users(".".join(map(str, version_of(server_binary))))["marketstate"]
    file = tmp_path / "users.acl"
    admin = f"user admin on >{PASSWORD} ~* &* +@all"
    file.write_text(f"user default {default}\nuser marketstate {rules} >{PASSWORD}\n{admin}\n")
    with OwnUsers(server_binary, *WITH_LOG, "--aclfile", str(file)) as server:
        worker = SteppedWorker(server, "one", **AS_WORKER)
        worker.keep()
        with server.client() as client:
            feed(client, made_candles(("BTCUSDT",), 3))
        worker.finish_all()
        warned = warnings(worker.settings)
        window = worker.keys.window("BTCUSDT")
        server.kill()
        server.start()
        with server.client() as client:
            is_lost = not client.exists(window)
    assert bool(warned) == is_lost, warned
    assert is_limited or not is_lost
    if is_lost:
        assert f"'default' may not XACK {worker.keys.input}, so " in warned[0]


def test_what_a_node_of_a_cluster_would_lose(any_server_binary: Path) -> None:
    """Valkey 9.0.0 and 9.0.1 put the keys of a transaction into the slot of the command before."""
    with LocalCluster(any_server_binary, *WITH_LOG, masters=1) as cluster:
        [node] = cluster.nodes
        worker = SteppedWorker(node, "one", redis_url=cluster.url, partitions=2, partition=0)
        warned = warnings(worker.settings)
        with node.client() as client:
            client.set("{a}1", 1)
            client.eval(WRITES_TWO_KEYS, 2, "{b}1", "{b}2")
        node.kill()
        node.start()
        wait_until(lambda: is_well(node), "the node serves its slots")
        with node.client() as client:
            is_lost = client.exists("{b}1", "{b}2") < 2
    assert bool(warned) == is_lost, warned


def test_a_log_that_was_cut_off_within_a_commit_and_then_rewritten_doubles_nothing(
    any_server_binary: Path,
) -> None:
    """G3, after a power failure: a part of the commit stays in the log. Without the rewrite, most
    versions carry it out when they start once more, beside the whole commit that has followed.
    """
    with EmbeddedRedis(any_server_binary, *WITH_LOG) as server:
        worker = SteppedWorker(server, "one", "one", publish_interval=1)
        worker.keep()
        with server.client() as client:
            feed(client, made_candles(("BTCUSDT",), 260))
            worker.finish_all()
        server.kill()
        cut_off_within_the_last_commit(server)
        server.start()
        worker = SteppedWorker(server, "one", "one", publish_interval=1)
        worker.keep()
        assert worker.finish_all() > 0, "the commit was lost"
        with server.client() as client:
            client.bgrewriteaof()
            wait_until(
                lambda: not client.info("persistence")["aof_rewrite_in_progress"],
                "the log is rewritten",
            )
            before = everything(client)
        server.kill()
        server.start()
        with server.client() as client:
            assert everything(client) == before


def cut_off_within_the_last_commit(server: EmbeddedRedis) -> None:
    folder = Path(server._folder.name)
    *_, log = sorted([*folder.glob("*.aof"), *folder.glob("*/*.incr.aof")])
    text = log.read_bytes()
    os.truncate(log, text.rindex(b"EXEC") - 40)
