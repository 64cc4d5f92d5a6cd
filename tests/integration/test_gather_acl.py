"""deploy/redis/users.acl: what the user of `gather` may do is enough, on each version of Redis."""

from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import as_cryptofeed, candle
from tests.support.gathering import add, counted, raw_update
from tests.support.worker_process import INPUT, WorkerProcess, dead_letters, wait_until

NAME = "marketstate-gather"
WHO: dict[str, Any] = {"redis_username": NAME, "redis_password": "of-gather"}


def refused(client: redis.Redis) -> list[Any]:
    """Without the command with which redis-py sends its name: nobody needs it."""
    entries: Any = client.acl_log()
    return [entry for entry in entries if not entry["object"].startswith("client")]


def test_the_user_of_gather_can_do_it_and_nothing_else(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    set_user(client, NAME, WHO["redis_password"])
    client.acl_log_reset()
    client.xgroup_create(INPUT, "marketstate", "0", mkstream=True)
    add(client, "candles-BINANCE-A", as_cryptofeed(candle("A", 0, 1.5)))
    add(client, "quantum:stream:exchange.raw", {"init": "1"})
    add(client, "quantum:stream:exchange.raw", raw_update(candle("B", 0, 1.5)))
    add(client, "quantum:stream:exchange.raw", raw_update(candle("B", 1, 1.5)))
    for words, gathered in (
        (("candles-*", "--exchange", "BINANCE"), 1),
        (("quantum:stream:exchange.raw", "--updates", "--group", "raw"), 2),
    ):
        with WorkerProcess(server.port, tmp_path, "gather", *words, **WHO) as gatherer:
            wait_until(
                lambda n=gathered: client.xlen(INPUT) == n or refused(client),  # type: ignore[misc]
                "candles are gathered",
            )
            assert gatherer.terminate() == 0, gatherer.log
    assert refused(client) == []
    assert (counted(client), len(dead_letters(client))) == ({"gathered": 1}, 1)
    with redis.Redis(port=server.port, username=NAME, password=WHO["redis_password"]) as user:
        for key in ("quantum:stream:marketstate", "quantum:marketstate-worker:marketstate:meta"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.xadd(key, {"a": "b"})
    client.acl_deluser(NAME)
