"""`marketstate check` says what a worker would make of the last entries of the input."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.worker.engine.input_preview import input_preview
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from tests.support.candles import FORMS, as_envelope, candle, made_candles
from tests.support.worker_process import (
    INPUT,
    WorkerProcess,
    everything,
    feed,
    feed_fields,
)

pytestmark = pytest.mark.one_redis_version


def looked_at(client: redis.Redis, **settings: str) -> list[tuple[str, str]]:
    """The verdict and the text of each line; the age of the newest entry is left out."""
    variables = {f"MARKETSTATE_{name.upper()}": value for name, value in settings.items()}
    found = input_preview(client, settings_from(variables))
    return [(verdict, text.partition("; the newest was written")[0]) for verdict, text in found]


def tick(symbol: str = "BTCUSDT") -> dict[str, str]:
    """As the upstream publisher writes it."""
    payload = {"symbol": symbol, "price": 3330.51, "qty": 0.1, "timestamp": 1_746_373_200.5}
    return {"event_type": "market.tick", "payload": json.dumps(payload), "source": "publisher"}


def raw_candle(close: float = 100.0) -> dict[str, str]:
    """An update without close time or flag."""
    prices = dict.fromkeys(("open", "high", "low"), "100.0") | {"close": str(close)}
    return {"exchange": "binance", "symbol": "BTCUSDT", "timestamp": "1746373200"} | prices


def test_candles_of_every_form_would_be_applied(client: redis.Redis) -> None:
    candles = made_candles(("BTCUSDT", "ETHUSDT", "SOLUSDT"), 20)
    forms = [*FORMS.values()]
    feed_fields(client, [forms[i % len(forms)](one) for i, one in enumerate(candles)])
    before = everything(client)
    expected = f"of the last 60 entries of {INPUT}, 60 would be applied (symbols: 3)"
    assert looked_at(client) == [("ok", expected)]
    assert everything(client) == before


def test_only_the_last_hundred_are_looked_at(client: redis.Redis) -> None:
    feed_fields(client, [tick()] * 50)
    feed(client, made_candles(("BTCUSDT",), 100))
    assert looked_at(client) == [
        ("ok", f"of the last 100 entries of {INPUT}, 100 would be applied (symbols: 1)")
    ]


@pytest.mark.parametrize("exists", [False, True], ids=["no such stream", "all trimmed"])
def test_an_input_with_nothing_in_it_is_a_warning(exists: bool, client: redis.Redis) -> None:
    if exists:
        feed_fields(client, [tick()])
        client.xtrim(INPUT, maxlen=0, approximate=False)
    ((verdict, text),) = looked_at(client)
    assert (verdict, text.startswith(f"{INPUT} has no entries: a worker would wait")) == (
        "warn",
        True,
    )
    assert looked_at(client, source="synthetic") == [
        ("ok", f"{INPUT}.synthetic has no entries yet")
    ]


def test_ticks_are_recognised(client: redis.Redis) -> None:
    flat = {"symbol": "BTCUSDT", "price": "3330.51", "timestamp": "1746373200"}
    feed_fields(client, [tick(), tick("ETHUSDT"), flat])
    summary, (verdict, text) = looked_at(client)
    assert summary == ("warn", f"none of the last 3 entries of {INPUT} would be applied: 3 dead")
    assert verdict == "warn"
    assert text.startswith("3 look like ticks, but a worker needs candles ")
    assert "event_type is 'market.tick'; expected 'market.klines'" in text


def test_raw_candles_are_recognised(client: redis.Redis) -> None:
    feed_fields(client, [raw_candle(), raw_candle(101.0)])
    feed(client, [candle("BTCUSDT", 0, 100.0)])
    (verdict, text), (_, kind) = looked_at(client)
    assert (verdict, "1 would be applied (symbols: 1); 2 dead" in text) == ("ok", True)
    assert kind.startswith("2 look like updates of candles; `marketstate gather --updates` ")


def test_candles_of_another_interval_are_named(client: redis.Redis) -> None:
    feed(client, made_candles(("BTCUSDT",), 5))
    summary, (verdict, text) = looked_at(client, candle_interval="5m")
    assert summary == ("warn", f"none of the last 5 entries of {INPUT} would be applied: 5 ignored")
    assert (verdict, text.startswith("5 would be passed over: candles of 1m are ")) == (
        "warn",
        True,
    )
    assert "MARKETSTATE_CANDLE_INTERVAL=5m" in text


def test_several_intervals_in_one_stream_are_no_warning(client: redis.Redis) -> None:
    candles = made_candles(("BTCUSDT",), 5)
    feed(client, candles)
    feed(client, [msgspec.structs.replace(candles[-1], interval="5m")])
    found = looked_at(client)
    assert [verdict for verdict, _ in found] == ["ok", "ok"]
    assert "5 would be applied (symbols: 1); 1 ignored" in found[0][1]
    assert "1 would be passed over: candles of 5m" in found[1][1]


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (
            30,
            "BTCUSDT: its candle of 2025-05-04 15:41:30 UTC closed only 30 s after the one before",
        ),
        (
            300,
            "9 of them come after missing candles, such as BTCUSDT: candles missing between 2025-",
        ),
    ],
)
def test_candles_without_an_interval_that_are_not_so_far_apart_are_told(
    seconds: int, says: str, client: redis.Redis
) -> None:
    first_ms = candle("BTCUSDT", 0, 100.0).close_time + 1
    entries = [
        {
            "symbol": "BTCUSDT",
            "close": f"{100 + i}",
            "close_time": f"{first_ms + i * seconds * 1000}",
        }
        for i in range(10)
    ]
    feed_fields(client, entries)
    summary, (verdict, text) = looked_at(client)
    assert summary[0] == "ok"
    assert (verdict, text.startswith(says)) == ("warn", True), text


def test_gaps_of_candles_that_name_their_interval_are_no_other_interval(
    client: redis.Redis,
) -> None:
    feed(client, [candle("BTCUSDT", 5 * i, 100.0 + i) for i in range(10)])
    assert [verdict for verdict, _ in looked_at(client)] == ["ok"]


def test_symbols_that_the_settings_do_not_have_are_passed_over(client: redis.Redis) -> None:
    feed(client, made_candles(("BTCUSDT",), 5))
    assert looked_at(client, symbols="btcusdt")[1] == (
        "warn",
        "5 would be passed over: MARKETSTATE_SYMBOLS does not have their symbols",
    )


def test_candles_that_have_not_closed_are_passed_over(client: redis.Redis) -> None:
    one = candle("BTCUSDT", 0, 100.0)
    feed(client, [msgspec.structs.replace(one, is_closed=False)] * 3)
    verdict, text = looked_at(client)[1]
    assert (verdict, text) == (
        "warn",
        "3 would be passed over: they are of candles that have not closed yet",
    )


def test_candles_that_come_twice_are_counted(client: redis.Redis) -> None:
    candles = made_candles(("BTCUSDT",), 4)
    feed(client, [*candles, *candles[-2:]])
    (text,) = (text for _, text in looked_at(client))
    assert "4 would be applied (symbols: 1); 1 duplicate, 1 late" in text


def test_each_kind_of_dead_letter_is_shown_once_with_an_example(client: redis.Redis) -> None:
    feed_fields(
        client, [{"symbol": "A", "close": str(-i), "close_time": "1"} for i in range(1, 10)]
    )
    feed_fields(client, [{"symbol": "B", "close": "1", "close_time": "5"}] * 2)
    feed_fields(client, [{"a": "b\x1b[2J"}, {"payload": "\xff"}, {"payload": "{"}])
    lines = [text for _, text in looked_at(client)][1:]
    assert [line.partition(",")[0] for line in lines[:2]] == [
        "9 would be dead letters",
        "2 would be dead letters",
    ]
    assert lines[0].count("entry ") == 1
    assert lines[-1] == "2 more would be dead letters, for 5 reasons in all"
    assert not any("\x1b" in line for line in lines)


def test_entries_that_call_themselves_synthetic_are_told(client: redis.Redis) -> None:
    """Somebody feeds invented prices into the live stream."""
    fields: list[Any] = [
        as_envelope(one) | {"source": "synthetic"} for one in made_candles(("BTCUSDT",), 3)
    ]
    feed_fields(client, fields)
    expected = ("warn", "3 say of themselves that their prices are synthetic")
    assert looked_at(client)[1:] == [expected]
    feed_fields(client, fields, f"{INPUT}.synthetic")
    assert looked_at(client, source="synthetic")[1:] == []


def test_huge_entries_are_looked_at_a_few_at_a_time(client: redis.Redis) -> None:
    feed_fields(client, [{"payload": b"x" * 500_000}] * 30)
    (_, text), _ = looked_at(client)
    assert text == f"none of the last 10 entries of {INPUT} would be applied: 10 dead"


def test_check_shows_it_at_the_end_and_passes(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    feed_fields(client, [tick()] * 3)
    with WorkerProcess(server.port, tmp_path, "check") as process:
        assert process.exit_code() == 0, process.log
    last = process.log.splitlines()[-2:]
    assert last[0].startswith("warn input: none of the last 3 entries of ")
    assert last[1].startswith("warn input: 3 look like ticks, but a worker needs")
