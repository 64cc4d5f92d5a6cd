"""A master, a replica and sentinels: the worker follows the master that the sentinels name."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis, free_port
from tests.support.candles import made_candles
from tests.support.processes import Sentinel
from tests.support.worker_process import (
    INPUT,
    INTERNAL_PREFIX,
    WorkerProcess,
    counters,
    feed,
    finished,
    group_info,
    published,
    wait_until,
    wait_until_finished,
    work_through,
)

CANDLES = made_candles(("BTCUSDT", "ETHUSDT", "SOLUSDT"), 300)
PASSWORD = "of-the-servers"
OF_SENTINELS = "of-the-sentinels"
SENTINEL_CONF = """\
port {port}
bind 127.0.0.1
dir {folder}
requirepass {sentinel_password}
sentinel monitor main 127.0.0.1 {master} 2
sentinel auth-pass main {password}
sentinel sentinel-pass {sentinel_password}
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 2000
"""


class Watched(NamedTuple):
    master: EmbeddedRedis
    replica: EmbeddedRedis
    url: str


@pytest.fixture
def watched(any_server_binary: Path, tmp_path: Path) -> Iterator[Watched]:
    """A master and its replica, watched by three sentinels."""
    with ExitStack() as stack:
        options = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
        fast = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        master, replica = (
            EmbeddedRedis(any_server_binary, *options, *fast, password=PASSWORD) for _ in range(2)
        )
        stack.enter_context(master)
        stack.enter_context(replica)
        with replica.client() as client:
            client.replicaof("127.0.0.1", master.port)
            wait_until(lambda: replication(client)["master_link_status"] == "up", "it is in sync")
        ports = [free_port() for _ in range(3)]
        for port in ports:
            configuration = _configuration(tmp_path, port, master.port)
            stack.enter_context(Sentinel(any_server_binary, configuration))
        for port in ports:
            wait_until(lambda port=port: _knows_all(port), f"sentinel {port} knows all")  # type: ignore[misc]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        url = f"redis+sentinel://{hosts}/main/0?sentinel_password={OF_SENTINELS}"
        yield Watched(master, replica, url)


def _configuration(folder: Path, port: int, master_port: int) -> Path:
    conf = folder / f"sentinel-{port}.conf"
    conf.write_text(
        SENTINEL_CONF.format(
            port=port,
            folder=folder,
            master=master_port,
            password=PASSWORD,
            sentinel_password=OF_SENTINELS,
        )
    )
    return conf


def _knows_all(port: int) -> bool:
    try:
        with redis.Redis(port=port, protocol=2, password=OF_SENTINELS) as client:
            state: Any = client.sentinel_master("main")
    except redis.ConnectionError:
        return False
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


def replication(client: redis.Redis) -> dict[str, Any]:
    found: dict[str, Any] = client.info("replication")
    return found


def undisturbed(server: EmbeddedRedis, folder: Path) -> tuple[object, object]:
    with server.client() as client:
        work_through(server.port, client, folder, CANDLES, redis_password=PASSWORD)
        found = published(client), counters(client)
        client.flushall()
        return found


def test_the_worker_continues_with_the_new_master_and_the_output_stays_correct(
    watched: Watched, tmp_path: Path
) -> None:
    """G2, G3: the replica may miss the latest entries and results; work continues from there."""
    expected = undisturbed(watched.master, tmp_path)
    settings = {"redis_url": watched.url, "redis_password": PASSWORD, "batch": 7}
    with WorkerProcess(watched.master.port, tmp_path, **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        with watched.master.client() as client:
            feed(client, CANDLES)
            wait_until(lambda: finished(client) > 700, "the worker is in the middle of it")
        watched.master.kill()
        with watched.replica.client() as client:
            wait_until(lambda: replication(client)["role"] == "master", "it has taken over")
            worker.wait_for_log("Redis is back after")
            # The upstream feeds again what the replica never received.
            feed(client, CANDLES[client.xlen(INPUT) :])
            wait_until_finished(client, len(CANDLES))
            assert (published(client), counters(client)) == expected
            assert group_info(client)["pending"] == 0
            assert client.hlen(f"{INTERNAL_PREFIX}:members") == 1
        assert worker.terminate() == 0
    assert PASSWORD not in worker.log
    assert OF_SENTINELS not in worker.log
    assert "sentinel_password=***" in worker.log


def test_an_unknown_master_is_one_clear_line(watched: Watched, tmp_path: Path) -> None:
    for url, message in {
        watched.url.replace("/main/", "/other/"): "No master found for 'other'",
        watched.url.partition("?")[0]: "No master found for 'main'",
    }.items():
        with WorkerProcess(
            watched.master.port, tmp_path, "check", redis_url=url, redis_password=PASSWORD
        ) as check:
            assert check.exit_code() == 3
        failed = check.log.splitlines()[-1]
        assert failed.startswith("FAIL Redis at redis+sentinel://127.0.0.1:"), failed
        assert message in failed
        assert "redis.client" not in failed
