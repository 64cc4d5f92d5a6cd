"""Any number of workers, in any batching, give one answer."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.replaying import small
from tests.support.small_workers import small_worker, work_off
from tests.support.worker_process import (
    INPUT,
    INTERNAL_PREFIX,
    OUTPUT,
    WorkerProcess,
    counters,
    feed,
    finished,
    group_info,
    published,
    wait_until,
    wait_until_finished,
)

SYMBOLS = [f"SYM{i}USDT" for i in range(24)]
CANDLES = made_candles(SYMBOLS, 60)


@pytest.fixture(scope="module")
def one_answer(any_server_binary: Path) -> tuple[object, object]:
    with EmbeddedRedis(any_server_binary) as server, server.client() as client:
        worker = small_worker(server, batch=1)
        feed(client, CANDLES)
        work_off(worker)
        return published(client), counters(client)


@pytest.mark.parametrize("size", [(2, 7), (3, 100), (5, 1), (16, 7)], ids=str)
def test_the_records_of_each_symbol_are_the_same_with_any_workers_and_batches(
    size: tuple[int, int],
    one_answer: tuple[object, object],
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
) -> None:
    """G1, G2: the workers start while candles flow, so shards move from one to another."""
    workers, batch = size
    settings = small(tmp_path) | {"batch": batch, "lease_seconds": 1}
    with ExitStack() as stack:

        def start() -> WorkerProcess:
            return stack.enter_context(WorkerProcess(server.port, tmp_path, **settings))

        feed(client, CANDLES[:1])
        start().wait_for_log("holding 16 of 16 shards")
        fed = 1
        for number, worker in enumerate([start() for _ in range(workers - 1)], start=1):
            share = number * len(CANDLES) // workers
            fed += feed(client, CANDLES[fed:share])
            worker.wait_for_log("of 16 shards")
        feed(client, CANDLES[fed:])
        wait_until_finished(client, len(CANDLES))
    assert (published(client), counters(client)) == one_answer
    assert group_info(client)["pending"] == 0


def test_a_paused_worker_that_lost_its_shards_changes_nothing(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G4: SIGSTOP for longer than the lease, in the middle of its work; then SIGCONT."""
    settings = small(tmp_path) | {"lease_seconds": 1, "batch": 5}
    with WorkerProcess(server.port, tmp_path, worker_id="paused", **settings) as paused:
        paused.wait_for_log("holding 16 of 16 shards")
        half = feed(client, CANDLES[: len(CANDLES) // 2])
        wait_until(lambda: finished(client) > 300, "the worker is in the middle of it")
        os.kill(paused.process.pid, signal.SIGSTOP)
        feed(client, CANDLES[half:])
        with WorkerProcess(server.port, tmp_path, worker_id="successor", **settings) as successor:
            successor.wait_for_log("holding 16 of 16 shards")
            wait_until_finished(client, len(CANDLES))
            before = counters(client), client.xlen(OUTPUT)
            os.kill(paused.process.pid, signal.SIGCONT)
            wait_until(
                lambda: (
                    client.hexists(f"{INTERNAL_PREFIX}:members", "paused")
                    and "holding 8 of 16 shards" in paused.log
                ),
                "the paused worker is a member again, with its share",
            )
            assert (counters(client), client.xlen(OUTPUT)) == before
            assert group_info(client)["pending"] == 0
            assert paused.terminate() == 0
            assert successor.terminate() == 0
    records = [fields[b"record"] for entries in published(client).values() for fields in entries]
    assert len(set(records)) == len(records)
    assert counters(client)["applied"] == client.xlen(INPUT) == len(CANDLES)


@pytest.mark.one_redis_version
def test_thirty_symbols_need_less_than_90_megabytes(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    candles = made_candles([f"SYM{i}USDT" for i in range(30)], 310)
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, candles)
        wait_until_finished(client, len(candles))
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (peak_kb,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    assert int(peak_kb) * 1024 < 90_000_000
