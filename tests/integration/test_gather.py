"""`marketstate gather`: many streams into the one that workers read, each candle once."""

import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.worker.commands.gather.reading import ENTRIES_AT_ONCE
from marketstate.worker.commands.gather.taken import ENDS
from marketstate.worker.errors import ConfigurationError, RedisUnusable, WrongKeyType
from marketstate.worker.keys import GatherKeys
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import START_MS, as_cryptofeed, candle, expected_by_oracle, made_candles
from tests.support.gathering import GROUP, SteppedGatherer, add, counted, gathered, id_at, pending
from tests.support.replaying import run
from tests.support.worker_process import (
    DEAD,
    INPUT,
    WorkerProcess,
    counters,
    dead_letters,
    feed_fields,
    published,
    wait_until,
    wait_until_finished,
)

pytestmark = pytest.mark.one_redis_version
PATTERN = "candles-BINANCE-*"
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")


def stream_of(symbol: str) -> str:
    return f"candles-BINANCE-{symbol}"


def feed_cryptofeed(client: redis.Redis, candles: Any) -> None:
    """As its back end does, each candle first as an update."""
    for one in candles:
        update = msgspec.structs.replace(one, close=one.close * 1.01, is_closed=False)
        feed_fields(client, map(as_cryptofeed, (update, one)), stream_of(one.symbol))


def by_symbol(candles: Any) -> dict[str, list[Any]]:
    return {
        symbol: [one for one in candles if one.symbol == symbol]
        for symbol in sorted({one.symbol for one in candles})
    }


def test_a_worker_publishes_of_many_streams_what_it_would_of_one(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Also of a stream that appears later. Keys of other types match the pattern too."""
    candles = made_candles(SYMBOLS, 260)
    known = [one for one in candles if one.symbol != SYMBOLS[2]]
    feed_cryptofeed(client, known)
    client.set(stream_of("TEXT"), "1")
    client.zadd(stream_of("ZSET"), {"1": 1})
    with (
        WorkerProcess(server.port, tmp_path, start="replay") as worker,
        WorkerProcess(server.port, tmp_path, "gather", PATTERN) as gatherer,
    ):
        wait_until_finished(client, len(known))
        feed_cryptofeed(client, [one for one in candles if one.symbol == SYMBOLS[2]])
        wait_until_finished(client, len(candles))
        assert (worker.terminate(), gatherer.terminate()) == (0, 0)
    assert by_symbol(gathered(client)) == by_symbol(candles)
    assert counted(client) == {"gathered": len(candles), "unclosed": len(candles)}
    assert counters(client) == {"applied": len(candles), "emitted": 12}
    expected = {
        symbol: [row["sigma"].encode() for row in rows]
        for symbol, rows in expected_by_oracle(candles).items()
    }
    found = {
        symbol: [state[b"sigma"] for state in states]
        for symbol, states in published(client).items()
    }
    assert found == expected
    assert f"gathering {PATTERN} into {INPUT} through the group {GROUP}, closed" in gatherer.log
    assert f"gathering {stream_of('BTC-USDT')}, {stream_of('ETH-USDT')}: 2 streams" in gatherer.log
    assert f"gathering {stream_of('SOL-USDT')}: 3 streams" in gatherer.log
    assert f"in all: gathered {len(candles)}, unclosed {len(candles)}" in gatherer.log


def test_the_input_stream_may_be_a_pattern_or_a_list(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    add(client, stream_of("A"), as_cryptofeed(candle("A", 0, 1.5)))
    add(client, "mine", as_cryptofeed(candle("B", 0, 1.5)))
    given = {"input_stream": f"{PATTERN},mine"}
    with WorkerProcess(server.port, tmp_path, "gather", **given) as gatherer:
        wait_until(lambda: client.xlen(INPUT) == 2, "both are gathered")
        gatherer.process.send_signal(signal.SIGINT)
        assert gatherer.exit_code() == 0, gatherer.log
    code, said = run(server, tmp_path, "check", **given)
    assert (code, "a pattern or a list: only `marketstate gather` reads" in said) == (2, True), said


@pytest.mark.parametrize("kills", range(3))
def test_a_gatherer_that_is_killed_loses_and_repeats_nothing(
    kills: int, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G3: killed while it has a backlog, and started again."""
    candles = made_candles(SYMBOLS, 1_000)
    feed_cryptofeed(client, candles)
    for number in range(kills + 1):
        with WorkerProcess(server.port, tmp_path, "gather", PATTERN) as gatherer:
            at_least = 200 + 700 * number if number < kills else len(candles)
            wait_until(lambda n=at_least: client.xlen(INPUT) >= n, "some are gathered")  # type: ignore[misc]
            if number < kills:
                gatherer.kill()
            else:
                assert gatherer.terminate() == 0
    assert by_symbol(gathered(client)) == by_symbol(candles)
    with WorkerProcess(server.port, tmp_path, start="replay"):
        wait_until_finished(client, len(candles))
    assert {name: counters(client)[name] for name in ("applied",)} == {"applied": len(candles)}
    assert [pending(client, stream_of(symbol)) for symbol in SYMBOLS] == [[], [], []]


def test_what_was_taken_before_a_crash_comes_first(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1, G3"""
    candles = made_candles(("BTC-USDT",), 700)
    feed_fields(client, map(as_cryptofeed, candles[:600]), stream_of("BTC-USDT"))
    first = SteppedGatherer(server, PATTERN)
    assert first.read_and_drop() == 0  # nothing was pending
    assert first.read_and_drop() == ENTRIES_AT_ONCE
    feed_fields(client, map(as_cryptofeed, candles[600:]), stream_of("BTC-USDT"))
    second = SteppedGatherer(server, PATTERN)
    second.work()
    assert gathered(client) == candles
    with pytest.raises(RedisUnusable, match="another gatherer was started after this one"):
        first.work()
    second.work()
    assert gathered(client) == candles


def test_an_entry_that_cannot_be_read_becomes_a_dead_letter(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: each is counted once, and none is left pending."""
    good = as_cryptofeed(candle("BTC-USDT", 0, 1.5))
    entries: list[dict[str, str]] = [
        {"init": "1"},
        good,
        good | {"close": "none"},
        good | {"stop": "0"},
        good | {"closed": "False"},
        {name: text for name, text in good.items() if name not in ("start", "stop")},
        good | {"exchange": "OKX"},
    ]
    ids = [add(client, "raw", entry) for entry in entries]
    gatherer = SteppedGatherer(server, "raw")
    gatherer.work()
    assert [one.close for one in gathered(client)] == [1.5]
    letters = dead_letters(client)
    assert [letter[b"source_id"] for letter in letters] == [ids[0], ids[2], ids[3], *ids[5:]]
    assert {letter[b"source_stream"] for letter in letters} == {b"raw"}
    assert (letters[0][b"init"], b"no known field among" in letters[0][b"error"]) == (b"1", True)
    assert [letter[b"error"].count(b"--updates") for letter in letters[3:]] == [1, 1]
    assert counted(client) == {"dead": 5, "gathered": 1, "unclosed": 1}
    assert (sum(gatherer.counts.values()), pending(client, "raw")) == (len(entries), [])
    assert set(counted(client)) <= set(ENDS)


def test_the_candles_of_a_symbol_come_from_one_exchange(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """The first one that was met, also after a restart; or the one that was asked for."""
    names = ("candles-BINANCE-A", "candles-KRAKEN-A", "candles-KRAKEN-B")
    add(client, names[0], as_cryptofeed(candle("A", 0, 1.5)))
    gatherer = SteppedGatherer(server, "candles-*")
    gatherer.work()
    gatherer.begin()
    add(client, names[1], as_cryptofeed(candle("A", 0, 2.5)) | {"exchange": "KRAKEN"})
    add(client, names[1], as_cryptofeed(candle("A", 1, 2.5)) | {"exchange": "KRAKEN"})
    add(client, names[2], as_cryptofeed(candle("B", 0, 3.5)) | {"exchange": "KRAKEN"})
    gatherer.work()
    assert sorted(one.close for one in gathered(client)) == [1.5, 3.5]
    assert counted(client) == {"gathered": 2, "other_exchange": 2}
    assert client.hgetall(GatherKeys(GROUP).exchanges) == {b"A": b"BINANCE", b"B": b"KRAKEN"}
    for name in names:
        client.xgroup_destroy(name, GROUP)
    client.delete(INPUT)
    SteppedGatherer(server, "candles-*", exchange="kraken").work()
    assert sorted(one.close for one in gathered(client)) == [2.5, 2.5, 3.5]


def test_a_feed_that_never_says_that_a_candle_has_closed_is_told(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    gatherer = SteppedGatherer(server, "right", "wrong")
    for number in range(3):
        one = candle("A", number, 1.5)
        update = msgspec.structs.replace(one, is_closed=False)
        feed_fields(client, map(as_cryptofeed, (update, update, one)), "right")
        feed_fields(client, map(as_cryptofeed, (update, update)), "wrong")
        gatherer.work()
    told = [text for text in caplog.messages if "use --updates" in text]
    assert len(told) == 2
    assert told[0].startswith(
        "A: nothing in wrong says that the candle of 2025-05-04 15:40:59 UTC has closed; if "
    )
    assert (len(gathered(client)), counted(client)) == (3, {"gathered": 3, "unclosed": 12})


@pytest.mark.parametrize(("interval", "length_s"), [("1m", 60), ("1h", 3_600)])
def test_a_candle_without_a_flag_has_closed_if_it_was_written_after_its_close(
    interval: str, length_s: int, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """By the time of its own entry, whenever it is gathered."""
    close_time = START_MS + length_s * 1_000 - 1
    for early_s, close in ((length_s - 10, 9.5), (length_s / 19, 8.5), (length_s / 100, 1.5)):
        fields = {"symbol": "A", "close": str(close), "close_time": str(close_time)}
        add(client, "mine", fields, id_at(close_time - early_s * 1_000))
    given = {"MARKETSTATE_CANDLE_INTERVAL": interval}
    SteppedGatherer(server, "mine", settings=given).work()
    assert [each.close for each in gathered(client)] == [1.5]
    assert counted(client) == {"gathered": 1, "unclosed": 2}


@pytest.mark.parametrize("updates", [False, True])
def test_what_is_remembered_of_symbols_is_bounded(
    updates: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    for number in range(5):
        add(client, "mine", as_cryptofeed(candle(f"S{number}", 0, 1.5)))
    few = {"MARKETSTATE_MAX_SYMBOLS": "3"}
    SteppedGatherer(server, "mine", settings=few, updates=updates).work()
    letters = dead_letters(client)
    assert [letter[b"symbol"] for letter in letters] == [b"S3", b"S4"]
    assert all(b"raise MARKETSTATE_MAX_SYMBOLS" in letter[b"error"] for letter in letters)


def test_a_deleted_stream_is_gathered_again_when_it_is_back(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Whether its ids go on or start again; and without its group, nothing comes twice."""
    gatherer = SteppedGatherer(server, "mine")
    for number, entry_id in enumerate(("*", "*", "5-1", "*")):
        if number in (1, 2):
            client.delete("mine")
        if number == 3:
            client.xgroup_destroy("mine", GROUP)
        gatherer.work()
        add(client, "mine", as_cryptofeed(candle("A", number, 1.5 + number)), entry_id)
        gatherer.work()
        gatherer.work()
    assert [one.close for one in gathered(client)] == [1.5, 2.5, 3.5, 4.5]


def test_it_begins_where_it_is_told_to(server: EmbeddedRedis, client: redis.Redis) -> None:
    for number in range(3):
        add(client, "mine", as_cryptofeed(candle("A", number, 1.5 + number)), f"{number + 1}-0")
    SteppedGatherer(server, "mine", start="2").work()
    assert [one.close for one in gathered(client)] == [3.5]


def test_entries_that_were_trimmed_are_told(
    server: EmbeddedRedis, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """G5: before they were read, and after. Of the former, only how often can be counted."""
    for number in range(4):
        add(client, "mine", as_cryptofeed(candle("A", number, 1.5 + number)), f"{number + 1}-0")
        if number == 0:
            gatherer = SteppedGatherer(server, "mine")
            gatherer.work()
    client.xtrim("mine", minid="3", approximate=False)
    gatherer.read_and_drop()
    client.xtrim("mine", minid="4", approximate=False)
    gatherer.begin()
    gatherer.work()
    assert [one.close for one in gathered(client)] == [1.5, 4.5]
    assert counted(client) == gatherer.counts == {"gathered": 2, "lost": 1, "trimmed": 1}
    said = "\n".join(caplog.messages)
    assert "entries of mine between 1-0 and 3-0 may have been trimmed before they were read" in said
    assert "entry 3-0 of mine was trimmed before it was finished" in said


def test_it_waits_while_the_workers_do_not_keep_up(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    client.xgroup_create(INPUT, "marketstate", "0", mkstream=True)
    candles = made_candles(("A",), 2_500)
    feed_fields(client, map(as_cryptofeed, candles), "mine")
    gatherer = SteppedGatherer(server, "mine", max_backlog=1_200)
    for at_most in (1_000, 2_000, 2_500):
        gatherer.work()
        assert client.xlen(INPUT) == at_most
        entries: Any = client.xreadgroup("marketstate", "x", {INPUT: ">"}, count=1_000)
        client.xack(INPUT, "marketstate", *[entry_id for entry_id, _ in entries[0][1]])
    assert gathered(client) == candles


def test_the_target_keeps_as_many_entries_as_it_is_told_to(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    candles = made_candles(("A",), 2_500)
    feed_fields(client, map(as_cryptofeed, candles), "mine")
    SteppedGatherer(server, "mine", max_length=1_000).work()
    assert counted(client) == {"gathered": len(candles)}
    kept = gathered(client)
    assert kept == candles[-len(kept) :]
    assert 1_000 <= len(kept) < 1_200


def test_an_outage_of_redis_is_waited_for(any_server_binary: Path, tmp_path: Path) -> None:
    candles = made_candles(("A",), 20)
    with EmbeddedRedis(any_server_binary, "--appendonly", "yes") as server:
        with server.client() as client:
            feed_fields(client, map(as_cryptofeed, candles[:10]), "mine")
        with WorkerProcess(server.port, tmp_path, "gather", "mine") as gatherer:
            with server.client() as client:
                wait_until(lambda: client.xlen(INPUT) == 10, "all are gathered")
            server.stop()
            gatherer.wait_for_log("lost Redis")
            server.start()
            with server.client() as client:
                feed_fields(client, map(as_cryptofeed, candles[10:]), "mine")
                wait_until(lambda: client.xlen(INPUT) == 20, "it goes on")
                assert gathered(client) == candles
            assert gatherer.terminate() == 0, gatherer.log


def test_a_full_redis_is_waited_for(any_server_binary: Path, tmp_path: Path) -> None:
    """At the start, and later."""
    candles = made_candles(("A",), 20)
    with EmbeddedRedis(any_server_binary) as server, server.client() as client:
        feed_fields(client, map(as_cryptofeed, candles[:10]), "mine")
        client.config_set("maxmemory", "1")
        with WorkerProcess(server.port, tmp_path, "gather", "mine") as gatherer:
            gatherer.wait_for_log("waiting for Redis at ")
            client.config_set("maxmemory", "0")
            wait_until(lambda: client.xlen(INPUT) == 10, "all are gathered")
            with client.pipeline() as together:
                for one in candles[10:]:
                    together.xadd("mine", as_cryptofeed(one))
                together.config_set("maxmemory", "1")
                together.execute()
            gatherer.wait_for_log("lost Redis at ")
            client.config_set("maxmemory", "0")
            wait_until(lambda: client.xlen(INPUT) == 20, "it goes on")
            assert gatherer.terminate() == 0, gatherer.log
        assert gathered(client) == candles


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["quantum:stream:*"], {}, "matches the stream to append to, quantum:stream:market.klines"),
        (["[mq]uantum:stream:mark?t.klines"], {}, "matches the stream to append to"),
        ([INPUT], {}, "is the stream to append to"),
        (["a", "--to", "a"], {}, "a is the stream to append to: what"),
        ([], {}, "is the stream to append to"),
        ([DEAD], {}, "is the stream of dead letters"),
        (["quantum:stream:marketstate*"], {}, "matches the stream of dead letters"),
        (["quantum:stream:marketstate.5m"], {"intervals": "1m,5m"}, "is the stream of states"),
        ([f"{DEAD}:{{p01}}"], {"partitions": "2"}, "is the stream of dead letters"),
        (["quantum:marketstate-worker:*"], {}, "matches a stream of the workers"),
        (["a"], {"input_stream": "candles-*"}, "a pattern or a list: only `marketstate gather`"),
        (["a"], {"source": "synthetic"}, "the workers would not read what is gathered"),
        (["a"], {"replay_namespace": "b"}, "gather has nothing to do with replays"),
        (["a", "--max-silence", "5"], {}, "--max-silence needs --updates"),
        (["a", "--max-backlog", "499"], {}, "--max-backlog must be at least 500"),
        (["a", "--max-length", "19999"], {}, "--max-length must be at least twice --max-backlog"),
    ],
)
def test_what_would_go_in_circles_or_do_nothing_is_refused(
    words: list[str],
    settings: dict[str, str],
    message: str,
    server: EmbeddedRedis,
    tmp_path: Path,
) -> None:
    code, said = run(server, tmp_path, "gather", *words, **settings)
    assert (code, message in said) == (2, True), said
    with server.client() as client:
        assert client.dbsize() == 0


def test_what_is_already_there_is_neither_trimmed_nor_mistaken_for_a_stream(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    feed_fields(client, [{"a": "b"}] * 2_000)
    with pytest.raises(ConfigurationError, match="would be trimmed to about 1,000: give "):
        SteppedGatherer(server, "mine", max_length=1_000)
    client.set("text", "1")
    with pytest.raises(WrongKeyType, match="text holds a string; only streams can be gathered"):
        SteppedGatherer(server, "text")
    with pytest.raises(WrongKeyType, match="the key text holds a string, not a stream"):
        SteppedGatherer(server, "mine", target="text")
    assert client.xlen(INPUT) == 2_000


def test_streams_share_a_batch(server: EmbeddedRedis, client: redis.Redis) -> None:
    """A long backlog of one does not hold up the others."""
    feed_fields(client, map(as_cryptofeed, made_candles(("A",), 3_000)), "long")
    for number in range(20):
        add(client, f"short{number}", as_cryptofeed(candle(f"S{number}", 0, 1.5)))
    gatherer = SteppedGatherer(server, "long", "short*")
    gatherer.read_and_drop()
    gatherer.session._write(gatherer.session._judge.judge(gatherer.session.read()))
    assert {one.symbol for one in gathered(client)} >= {f"S{number}" for number in range(20)}
    gatherer.work()
    assert len(gathered(client)) == 3_020


def test_candles_keep_their_times_and_where_they_came_from(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    one = candle("A", 0, 100.5)
    entry_id: Any = add(client, "mine", as_cryptofeed(one))
    SteppedGatherer(server, "mine").work()
    entries: Any = client.xrange(INPUT)
    fields = entries[0][1]
    assert (fields[b"source_stream"], fields[b"source_id"]) == (b"mine", entry_id)
    payload = msgspec.json.decode(fields[b"payload"])
    assert (payload["is_closed"], payload["close_time"]) == (True, START_MS + 59_999)
