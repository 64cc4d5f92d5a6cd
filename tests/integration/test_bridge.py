"""`marketstate gather --partitions`: whatever breaks off, the same is published."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.commands.gather.bridge import Bridge
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.keys import BridgeKeys
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from marketstate.worker.stop import Stop
from tests.support.acl import set_user
from tests.support.candles import made_candles
from tests.support.small_workers import FILLED
from tests.support.stepped_partitions import (
    PARTITIONS,
    SYMBOLS,
    partition_workers,
    published_by,
    published_by_one,
    work_all_off,
)
from tests.support.worker_process import (
    INPUT,
    WorkerProcess,
    feed,
    feed_fields,
    wait_until,
)

GROUP = "marketstate-gather"
KEYS = BridgeKeys(GROUP, INPUT)
STREAMS = [f"{INPUT}:{{p{i:02d}}}" for i in range(PARTITIONS)]
# More than fit into one batch.
CANDLES = made_candles(SYMBOLS, 200)


class SteppedBridge:
    """A bridge in this process, one batch at a time."""

    def __init__(self, server: EmbeddedRedis, *, start: str = "0") -> None:
        self._settings = settings_from(
            {"MARKETSTATE_REDIS_PORT": str(server.port), "MARKETSTATE_PARTITIONS": str(PARTITIONS)}
        )
        self.sources = Sources([INPUT], GROUP, start)
        self.counts: Counter[str] = Counter()
        self._stop = Stop()
        self._stop.requested = True  # so that no wait takes any time
        self.begin()

    def begin(self) -> None:
        """A new session, as after a lost connection."""
        self.bridge = Bridge(
            self._settings, self.sources, self.counts, max_length=100_000, max_backlog=10_000
        )

    def batch(self) -> None:
        self.sources.look_soon()
        self.bridge.work(self._stop)

    def work(self) -> None:
        """Until nothing is left to read."""
        while True:
            before = self.positions()
            self.batch()
            if self.positions() == before and self.sources.all_pending_is_read:
                return

    def positions(self) -> Any:
        return {name: position.read_from for name, position in self.sources.streams.items()}


@pytest.fixture
def wanted(server: EmbeddedRedis, client: redis.Redis) -> dict[str, Any]:
    """What a worker publishes that reads the source itself; then Redis is empty but for that."""
    found = published_by_one(server, client, CANDLES)
    feed(client, CANDLES)
    return found


def worked_off(server: EmbeddedRedis, client: redis.Redis) -> dict[str, Any]:
    workers = partition_workers(server, start="replay")
    work_all_off(workers)
    return published_by(client, workers)


def duplicates(client: redis.Redis) -> int:
    keys = [f"quantum:marketstate-worker:marketstate:{{p{i:02d}}}:counters" for i in range(2)]
    return sum(int(client.hget(key, n) or 0) for key in keys for n in ("duplicate", "late"))


def test_every_entry_reaches_the_partition_of_its_symbol_in_order(
    server: EmbeddedRedis,
    client: redis.Redis,
    wanted: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G1, G5: also entries without a symbol, and what has not closed."""
    feed_fields(client, [{"symbol": "BTCUSDT"}, {"what": "is this"}, {"data": b"\x81\xa1"}])
    bridge = SteppedBridge(server)
    bridge.work()
    assert bridge.counts == {"gathered": len(CANDLES) + 3}
    assert client.hget(KEYS.counters, "gathered") == b"%d" % (len(CANDLES) + 3)
    assert worked_off(server, client) == wanted
    assert duplicates(client) == 0
    dead: Any = client.xrange("quantum:stream:marketstate.dead:{p00}")
    assert len(dead) == 3
    groups: Any = client.xinfo_groups(INPUT)
    assert groups[0]["pending"] == 0
    assert "beginning again" not in caplog.text


def test_an_update_without_a_flag_does_not_become_a_close(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The entry was written before its candle closed, which its new id would hide."""
    candle = CANDLES[0]
    fields: Any = {
        "symbol": candle.symbol,
        "close": candle.close,
        "close_time": candle.close_time,
        "interval": "1m",
    }
    client.xadd(INPUT, fields, id=f"{candle.close_time - 5_000}-0")
    SteppedBridge(server).work()
    workers = partition_workers(server, start="replay")
    work_all_off(workers)
    assert client.hgetall(workers[0].keys.counters) == {b"unclosed": b"1"}


@pytest.mark.parametrize("breaking_off", [(0, 1, 0), (1, 1, 250), (0, 2, 0), (1, 2, 150)])
def test_a_bridge_that_breaks_off_in_any_partition_skips_and_reorders_nothing(
    server: EmbeddedRedis,
    client: redis.Redis,
    wanted: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    breaking_off: tuple[int, int, int],
) -> None:
    """G1, G3: a batch that is partly appended comes again, and is published once."""
    bridge = SteppedBridge(server)
    append, calls = Bridge._append, 0
    failing, at_call, twice = breaking_off

    def broken(self: Bridge, partition: int, *rest: Any) -> None:
        nonlocal calls
        calls += partition == failing
        if partition == failing and calls == at_call:
            raise redis.ConnectionError("its node is gone")
        append(self, partition, *rest)

    monkeypatch.setattr(Bridge, "_append", broken)
    with pytest.raises(redis.ConnectionError):
        bridge.work()
    bridge.begin()
    bridge.work()
    assert worked_off(server, client) == wanted
    assert duplicates(client) == twice


def test_what_was_before_its_start_is_never_brought(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it breaks off in its first batch: some partitions have no position then."""
    feed(client, CANDLES[:8])
    last: Any = client.xinfo_stream(INPUT)
    feed(client, CANDLES[8:12])
    bridge = SteppedBridge(server, start=last["last-generated-id"].decode())
    append = Bridge._append

    def broken(self: Bridge, partition: int, *rest: Any) -> None:
        if partition == 1:
            raise redis.ConnectionError("its node is gone")
        append(self, partition, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Bridge, "_append", broken)
        with pytest.raises(redis.ConnectionError):
            bridge.work()
    bridge.begin()
    bridge.work()

    def payloads(stream: str) -> list[bytes]:
        entries: Any = client.xrange(stream)
        return [fields[b"payload"] for _, fields in entries]

    brought = {payload for stream in STREAMS for payload in payloads(stream)}
    assert brought == {*payloads(INPUT)[8:]}


def test_a_bridge_that_was_followed_by_another_stops_and_what_it_had_in_hand_changes_nothing(
    server: EmbeddedRedis, client: redis.Redis, wanted: dict[str, Any]
) -> None:
    """G1, G4: its late batch is of older candles."""
    first = SteppedBridge(server)
    first.batch()  # looks for what is pending
    first.batch()
    in_hand = first.bridge._reader.read()
    second = SteppedBridge(server)
    second.batch()
    assert in_hand
    # As if it had looked just before its successor wrote: otherwise it appends nothing.
    first.bridge._positions = second.bridge._read_positions()
    first.bridge._bring(in_hand)
    first.bridge._acknowledge(in_hand)
    with pytest.raises(RedisUnusable, match="is no longer ours"):
        first.batch()
    second.work()
    assert worked_off(server, client) == wanted
    assert duplicates(client) > 0


@pytest.mark.parametrize("noticed", [True, False])
def test_a_partition_that_goes_back_to_older_data_gets_again_what_it_lacks(
    server: EmbeddedRedis, client: redis.Redis, wanted: dict[str, Any], *, noticed: bool
) -> None:
    """G5: its master died before its replica had everything. Also if no connection broke."""
    bridge = SteppedBridge(server)
    bridge.batch()  # looks for what is pending
    bridge.batch()
    keys = [STREAMS[1], KEYS.positions(1)]
    dumps: Any = [client.dump(key) for key in keys]
    if noticed:
        bridge.work()
    else:
        bridge.batch()
        feed(client, made_candles(SYMBOLS, 201)[-4:])
    client.delete(*keys)
    for key, dump in zip(keys, dumps, strict=True):
        client.restore(key, 0, dump)
    if noticed:
        bridge.begin()
    bridge.work()
    found = worked_off(server, client)
    if noticed:
        assert found == wanted
    assert {symbol: len(states) for symbol, states in found.items()} == dict.fromkeys(
        SYMBOLS, (200 if noticed else 201) - FILLED + 2
    )


def test_the_user_of_gather_can_bridge(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    who: dict[str, Any] = {"redis_username": GROUP, "redis_password": "of-gather"}
    set_user(client, GROUP, who["redis_password"])
    client.acl_log_reset()
    feed(client, CANDLES[:8])
    client.xgroup_create(STREAMS[0], "marketstate", "0", mkstream=True)
    with WorkerProcess(
        server.port, tmp_path, "gather", "--partitions", partitions=PARTITIONS, **who
    ) as bridge:
        wait_until(lambda: sum(map(client.xlen, STREAMS)) == 8, "all is brought")
        assert bridge.terminate() == 0, bridge.log
    assert "in all: gathered 8" in bridge.log
    client.acl_deluser(GROUP)


def test_what_the_bridge_cannot_do_is_said_at_once(server: EmbeddedRedis, tmp_path: Path) -> None:
    for words, settings, said in (
        ((), {}, "--partitions needs MARKETSTATE_PARTITIONS"),
        (("a-*",), {"partitions": 2}, "needs the key of one stream"),
        (("a", "--updates"), {"partitions": 2}, "without --updates"),
        ((STREAMS[1],), {"partitions": 2}, "is a stream of the workers"),
    ):
        with WorkerProcess(
            server.port, tmp_path, "gather", "--partitions", *words, **settings
        ) as bridge:
            assert bridge.exit_code() == 2
        assert said in bridge.log
