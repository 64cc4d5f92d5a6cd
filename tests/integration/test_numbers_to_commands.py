"""Redis 7.2.4 gives a command `1e+8` where a script gives it the Lua number 10^8."""

from typing import Any

import pytest
import redis

from marketstate.worker.engine.status import read_status
from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.store.scripts import Scripts
from tests.support.candles import made_candles
from tests.support.lua_shims import NUMBERS_ARE_REFUSED, put_before_every_script
from tests.support.redis_versions import has_lag
from tests.support.steps import SteppedWorker
from tests.support.worker_process import GROUP, INPUT, INTERNAL_PREFIX, counters, feed

SYMBOLS = [f"SYM{i}USDT" for i in range(20)]
ONE_OF_THEM = shard_name(shard_of(SYMBOLS[0], 16))


def test_scripts_pass_numbers_to_commands_only_as_text(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3, G8: through everything that routing knows; any number could be such a multiple."""
    put_before_every_script(monkeypatch, NUMBERS_ARE_REFUSED, but=("load",))
    one = SteppedWorker(server, "one", batch=30)
    one.keep()
    two = SteppedWorker(server, "two", batch=30)
    for worker in (two, one, two):
        worker.keep()

    def finish() -> None:
        while one.finish_all() + two.finish_all():
            pass

    candles = made_candles(SYMBOLS, 20)
    feed(client, candles[:200])
    finish()
    feed(client, candles[200:240])
    client.xreadgroup(GROUP, "stray", {INPUT: ">"}, count=20)
    finish()
    assert counters(client) == {"applied": 240}
    feed(client, candles[240:300])
    client.xreadgroup(GROUP, "foreign", {INPUT: ">"}, count=20, noack=True)
    one.fetch()
    two.fetch()
    client.xgroup_delconsumer(INPUT, GROUP, ONE_OF_THEM)
    finish()
    feed(client, candles[300:])
    client.hdel(f"{INTERNAL_PREFIX}:meta", "entries_accounted")
    one.fetch()
    client.xtrim(INPUT, maxlen=30, approximate=False)
    finish()
    read_status(client, one.settings)
    one.shards.release()


def test_the_shim_itself_refuses_a_number(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the test above could not fail."""
    put_before_every_script(monkeypatch, NUMBERS_ARE_REFUSED)
    unread = Scripts(client).unread
    unread.script = NUMBERS_ARE_REFUSED + "return redis.call('XRANGE', 'a', '-', '+', 'COUNT', 5)"
    with pytest.raises(redis.ResponseError, match="XRANGE was given the number 5"):
        client.eval(unread.script, 0)


@pytest.mark.parametrize("added", [10**8, 3 * 10**8])
def test_positions_at_such_multiples_are_written_as_integers(
    added: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G8: fails on Redis 7.2.4 itself wherever a number is not formatted."""
    if not has_lag(client):
        pytest.skip("Redis 6.2 does not count what was added")
    client.xadd(INPUT, {"a": "b"})
    last_id: Any = client.xinfo_stream(INPUT)["last-generated-id"]
    untyped: Any = client
    untyped.execute_command("XSETID", INPUT, last_id, "ENTRIESADDED", added - 5)
    worker = SteppedWorker(server, "one", start="new", lease_seconds=10**5, max_pending=10**8)
    worker.keep()
    feed(client, made_candles(SYMBOLS[:1], 5))
    assert worker.finish_all() == 5
    assert client.hget(f"{INTERNAL_PREFIX}:meta", "entries_accounted") == str(added).encode()
