"""Who is refused what, and which user of deploy/redis/users.acl may do it."""

from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import made_candles
from tests.support.worker_process import INPUT, OUTPUT, WorkerProcess, feed

OF_READERS: dict[str, Any] = {
    "redis_username": "marketstate-reader",
    "redis_password": "of-readers",
}
# Each command, what the user for readers may not do, and who may.
REFUSED = {
    "worker": (("worker",), "INFO", "marketstate"),
    "check": (("check",), "INFO", "marketstate"),
    "status": (("status",), f"XINFO GROUPS on {INPUT}", "marketstate"),
    "verify": (("verify",), "on quantum:", "marketstate"),
    "record": (("record", "FILE"), f"on {INPUT}", "marketstate"),
    "record of a replay": (("record", "FILE", "--namespace", "x"), "on ", "marketstate-replay"),
    "gather": (("gather", "candles-A"), f"TYPE on {INPUT}", "marketstate-gather"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_who_what_and_who_may(
    refused: tuple[tuple[str, ...], str, str],
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
) -> None:
    command, call, account = refused
    feed(client, made_candles(("BTCUSDT",), 2))
    client.xadd("candles-A", {"a": "b"})
    set_user(client, "marketstate-reader", OF_READERS["redis_password"])
    words = (word.replace("FILE", str(tmp_path / "a.gz")) for word in command)
    with WorkerProcess(server.port, tmp_path, *words, **OF_READERS) as process:
        assert process.exit_code() == 3
        said = process.log.splitlines()[-1]
    assert "does not allow the user 'marketstate-reader' " in said
    assert call in said
    assert f"the user '{account}' of deploy/redis/users.acl has all" in said


@pytest.mark.parametrize("command", [("status",), ("record", "FILE")], ids=" ".join)
def test_the_user_that_is_named_may_do_it(
    command: tuple[str, ...], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    feed(client, made_candles(("BTCUSDT",), 2))
    client.xadd(OUTPUT, {"a": "b"})
    set_user(client, "marketstate", "of-workers")
    who: dict[str, Any] = {"redis_username": "marketstate", "redis_password": "of-workers"}
    words = (word.replace("FILE", str(tmp_path / "a.gz")) for word in command)
    with WorkerProcess(server.port, tmp_path, *words, **who) as process:
        process.exit_code()
        assert "does not allow" not in process.log
        assert "has no group 'marketstate'" in process.log or "2 entries" in process.log
