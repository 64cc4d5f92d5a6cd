"""`marketstate gather --partitions`: whatever breaks off, the same is published."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.commands.gather import bridge as bridge_module
from marketstate.worker.commands.gather.bridge import Bridge
from marketstate.worker.commands.gather.bridged_partition import BridgedPartition
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.errors import PartitionCountMismatch, RedisUnusable, WrongKeyType
from marketstate.worker.keys import BridgeKeys
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import as_variables, settings_from
from marketstate.worker.stop import Stop
from tests.support.acl import set_user
from tests.support.candles import made_candles
from tests.support.small_workers import FILLED, work_off
from tests.support.stepped_partitions import (
    PARTITIONS,
    SYMBOLS,
    partition_workers,
    published_by,
    published_by_one,
    work_all_off,
)
from tests.support.worker_process import (
    DEAD,
    INPUT,
    WorkerProcess,
    feed,
    feed_fields,
    wait_until,
)

GROUP = "marketstate-gather"
KEYS = BridgeKeys(GROUP, INPUT)
FIELD = f"marketstate:{PARTITIONS}:{INPUT}"
STREAMS = [f"{INPUT}:{{p{i:02d}}}" for i in range(PARTITIONS)]
# More than fit into one batch.
CANDLES = made_candles(SYMBOLS, 200)


class SteppedBridge:
    """A bridge in this process, one batch at a time."""

    def __init__(
        self,
        server: EmbeddedRedis,
        *,
        start: str = "0",
        partitions: int = PARTITIONS,
        group: str = "marketstate",
        max_backlog: float = 10_000,
    ) -> None:
        given = {"redis_port": str(server.port), "partitions": str(partitions), "group": group}
        self._settings = settings_from(as_variables(**given))
        self._max_backlog = max_backlog
        self.sources = Sources([INPUT], GROUP, start)
        self.counts: Counter[str] = Counter()
        self._stop = Stop()
        self._stop.requested = True  # so that no wait takes any time
        self.begin()

    def begin(self) -> None:
        """A new session, as after a lost connection."""
        self.bridge = Bridge(
            self._settings,
            self.sources,
            self.counts,
            max_length=100_000,
            max_backlog=self._max_backlog,
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
    append, calls = BridgedPartition.append, 0
    failing, at_call, twice = breaking_off

    def broken(self: BridgedPartition, *rest: Any) -> None:
        nonlocal calls
        calls += self.settings.partition == failing
        if self.settings.partition == failing and calls == at_call:
            raise redis.ConnectionError("its node is gone")
        append(self, *rest)

    monkeypatch.setattr(BridgedPartition, "append", broken)
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
    append = BridgedPartition.append

    def broken(self: BridgedPartition, *rest: Any) -> None:
        if self.settings.partition == 1:
            raise redis.ConnectionError("its node is gone")
        append(self, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(BridgedPartition, "append", broken)
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
    for partition in first.bridge._partitions:
        partition.look()
    first.bridge._bring(in_hand)
    with pytest.raises(RedisUnusable, match="is no longer ours"):
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


def test_what_others_have_finished_is_not_brought_again(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """From 2 partitions to 4 and back, through the same group: each time the workers of before have
    finished all there is.
    """
    brought = 0
    for number, (partitions, group) in enumerate(((2, "two"), (4, "four"), (2, "two-again"))):
        some = CANDLES[260 * number : 260 * (number + 1)]
        feed(client, some)
        bridge = SteppedBridge(server, partitions=partitions, group=group)
        bridge.work()
        bridge.begin()
        bridge.work()
        brought += len(some)
        there = sum(client.xlen(f"{INPUT}:{{p{i:02d}}}") for i in range(4))
        assert there == brought, group


def test_a_partition_that_goes_back_to_nothing_gets_all_since_the_bridge_began(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: it has no position then, as one that has never been brought anything."""
    feed(client, CANDLES[:8])
    last: Any = client.xinfo_stream(INPUT)
    feed(client, CANDLES[8:])
    bridge = SteppedBridge(server, start=last["last-generated-id"].decode())
    bridge.work()
    before = client.xlen(STREAMS[1])
    client.delete(STREAMS[1], KEYS.positions(1))
    bridge.begin()
    bridge.work()
    assert client.xlen(STREAMS[1]) == before > 0


def test_what_is_brought_again_waits_for_the_workers_and_for_a_stop(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    feed(client, CANDLES)
    bridge = SteppedBridge(server, max_backlog=600)
    bridge.work()
    brought = client.xlen(STREAMS[1])
    client.delete(STREAMS[1], KEYS.positions(1))
    [other, worker] = partition_workers(server, start="replay")
    work_off(other)
    bridge.begin()
    bridge.batch()
    some = client.xlen(STREAMS[1])
    assert 0 < some < brought
    bridge.batch()
    assert client.xlen(STREAMS[1]) == some
    work_off(worker)
    bridge.batch()
    assert client.xlen(STREAMS[1]) == brought


def test_what_a_partition_lacks_and_the_source_has_no_more_is_told_and_counted(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G5: once while nothing is left of it, and once while something is."""
    caplog.set_level("WARNING")
    feed(client, CANDLES)
    bridge = SteppedBridge(server)
    bridge.work()
    for left in (300, 0):
        client.xtrim(INPUT, maxlen=left, approximate=False)
        client.delete(STREAMS[1], KEYS.positions(1))
        bridge.begin()
        bridge.work()
        entries: Any = client.xrange(INPUT)
        assert client.xlen(STREAMS[1]) == left // 2
        before = entries[0][0].decode() if entries else ""
        told = [line for line in caplog.messages if "may have been trimmed" in line]
        assert before in told[-1]
        assert "{p01}" in told[-1]
        assert "{p00}" not in told[-1]
    assert len(told) == 2
    assert client.hget(KEYS.counters, "trimmed") == b"2"
    bridge.begin()
    bridge.work()
    assert client.hget(KEYS.counters, "trimmed") == b"2"


def test_a_partition_for_which_nothing_came_lacks_nothing_of_what_was_trimmed(
    server: EmbeddedRedis,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bridge_module, "NOTE_ALL_EVERY_S", 0)
    bridge = SteppedBridge(server)
    feed(client, CANDLES[:4])
    bridge.work()
    monkeypatch.setattr(bridge_module, "NOTE_ALL_EVERY_S", 3600)
    bridge.begin()
    bridge.work()
    feed(client, [each for each in CANDLES[4:] if each.symbol == "BTCUSDT"])
    bridge.work()
    end: Any = client.xinfo_stream(INPUT)["last-generated-id"]
    assert client.hget(KEYS.positions(1), FIELD) != end
    bridge.bridge._note_all_s = 0.0
    bridge.batch()
    assert client.hget(KEYS.positions(1), FIELD) == end
    client.xtrim(INPUT, maxlen=0, approximate=False)
    bridge.begin()
    bridge.work()
    assert "may have been trimmed" not in caplog.text


def test_a_source_that_is_deleted_while_it_is_brought_again_ends_nothing(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    feed(client, CANDLES)
    bridge = SteppedBridge(server)
    bridge.work()
    client.delete(STREAMS[1], KEYS.positions(1))
    bridge.begin()
    bridge.batch()
    # Redis 6.2 does not say whether there were others before the first.
    before = int(client.hget(KEYS.counters, "trimmed") or 0)
    client.delete(INPUT)
    bridge.batch()
    bridge.batch()
    assert f"{INPUT} or its group {GROUP} was deleted" in caplog.text
    assert client.hget(KEYS.counters, "trimmed") == b"%d" % (before + 1)
    feed(client, CANDLES[:4])
    bridge.work()
    assert client.xlen(STREAMS[0]) == len(CANDLES) // 2 + 2


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
        ((f"{DEAD}:{{p01}}",), {"partitions": 2}, "is the stream of dead letters"),
    ):
        with WorkerProcess(
            server.port, tmp_path, "gather", "--partitions", *words, **settings
        ) as bridge:
            assert bridge.exit_code() == 2
        assert said in bridge.log


@pytest.mark.one_redis_version
def test_a_bridge_with_another_number_than_the_workers_brings_nothing(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Its entries would become dead letters."""
    feed(client, CANDLES[:10])
    partition_workers(server)
    with pytest.raises(PartitionCountMismatch, match=f"PARTITIONS is 3, .* with {PARTITIONS}; set"):
        SteppedBridge(server, partitions=3)


@pytest.mark.one_redis_version
@pytest.mark.parametrize("key", [STREAMS[1], KEYS.positions(1)])
def test_a_key_that_cannot_be_written_to_ends_the_bridge_and_is_named(
    server: EmbeddedRedis, client: redis.Redis, key: str
) -> None:
    """Nothing is acknowledged that was not brought."""
    feed(client, CANDLES[:8])
    bridge = SteppedBridge(server)
    bridge.batch()  # looks for what is pending
    client.delete(key)
    client.set(key, "of another program")
    with pytest.raises(WrongKeyType, match="holds a string; it cannot be written to") as refused:
        bridge.work()
    assert key in str(refused.value)
    assert bridge.counts == {}
