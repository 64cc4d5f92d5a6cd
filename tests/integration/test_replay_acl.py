"""deploy/redis/users.acl: Redis does not let the replay user touch anything live."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.candles import made_candles
from tests.support.replaying import SYMBOLS, dumps, run, small
from tests.support.worker_process import (
    INPUT,
    OUTPUT,
    WorkerProcess,
    feed,
    wait_until_finished,
)
from worker.local.redis_server import EmbeddedRedis

USERS = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
NAME = "marketstate-replay"
WHO = {"redis_username": NAME, "redis_password": "of-a-replay"}


@pytest.fixture(scope="module")
def server(any_server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(any_server_binary) as server:
        yield server


def test_the_replay_user_can_do_a_replay_and_nothing_else(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    with server.client() as client:
        if str(client.info("server")["redis_version"]).startswith("6."):
            return  # it does not support read-only keys
        raw: Any = client
        (rules,) = [line for line in USERS.read_text().splitlines() if f"user {NAME} " in line]
        raw.execute_command("ACL", "SETUSER", NAME, *rules.split()[2:], f">{WHO['redis_password']}")
        candles = made_candles(SYMBOLS, 15)
        with WorkerProcess(server.port, tmp_path, **small(tmp_path)) as worker:
            worker.wait_for_log("holding 16 of 16 shards")
            feed(client, candles)
            wait_until_finished(client, len(candles))
            assert worker.terminate() == 0
        before = dumps(client)
        client.acl_log_reset()
        for command in (
            ("record", tmp_path / "candles.jsonl.gz"),
            ("record", tmp_path / "states.jsonl.gz", "--stream", "output"),
            ("replay", tmp_path / "candles.jsonl.gz", "--namespace", "a", "--workers", "1"),
            ("verify", "--against", tmp_path / "states.jsonl.gz", "--namespace", "a"),
            ("replay", "--namespace", "a", "--clean"),
        ):
            code, log = run(server, tmp_path, *command, **WHO)
            assert code == 0, log
        refused: Any = client.acl_log()
        # redis-py sends its name with this; neither Redis 7.0 nor the worker needs it.
        assert [e for e in refused if not e["object"].startswith("client")] == []
        with redis.Redis(port=server.port, username=NAME, password=WHO["redis_password"]) as user:
            for key in (INPUT, OUTPUT):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    user.xadd(key, {"a": "b"})
            for live in before:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    user.unlink(live)
        assert dumps(client) == before
