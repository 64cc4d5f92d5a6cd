"""deploy/redis/users.acl: Redis does not let the replay user touch anything live."""

from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import made_candles
from tests.support.replaying import SYMBOLS, dumps, run, small
from tests.support.worker_process import INPUT, OUTPUT, work_through

pytestmark = pytest.mark.one_redis_version
NAME = "marketstate-replay"
WHO = {"redis_username": NAME, "redis_password": "of-a-replay"}


def test_the_replay_user_can_do_a_replay_and_nothing_else(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    if str(client.info("server")["redis_version"]).startswith("6."):
        return  # it does not support read-only keys
    set_user(client, NAME, WHO["redis_password"])
    work_through(server.port, client, tmp_path, made_candles(SYMBOLS, 15), **small(tmp_path))
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
