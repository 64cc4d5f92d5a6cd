"""`marketstate serve`: what its addresses answer, over a real Redis with real workers."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.schemas.reader import latest_state
from marketstate.worker.cli import main
from marketstate.worker.commands.plot.document import drawn
from marketstate.worker.commands.plot.sources import from_stream
from marketstate.worker.commands.serve import app
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import closing_now, made_candles
from tests.support.exposition import samples
from tests.support.page_server import Page, PageServer
from tests.support.partitioned import feed_by_symbol
from tests.support.records import make_record, publish
from tests.support.redis_versions import has_lag
from tests.support.small_workers import FILLED
from tests.support.stepped_partitions import (
    PARTITIONS,
    SYMBOLS,
    partition_workers,
    settings_of_all,
    work_all_off,
)
from tests.support.steps import SteppedWorker
from tests.support.worker_process import WorkerProcess, feed, wait_until

pytestmark = pytest.mark.one_redis_version

MARKETS = ("BTCUSDT", "ETHUSDT")


def candles_until_now(closes: int) -> list[Candle]:
    """Of both markets; the last ones closed just now."""
    return closing_now(made_candles(MARKETS, closes))


@pytest.fixture
def page_server(server: EmbeddedRedis, tmp_path: Path) -> Iterator[PageServer]:
    options = ("--max-age", "inf", "--max-lag", "4", "--per-symbol")
    with PageServer(server.port, tmp_path, *options) as served:
        yield served


def wait_for_group(served: PageServer) -> Any:
    """Once it was read."""

    def is_read() -> bool:
        return served.ask("/states.json").document["group"]["lag"] is not None

    wait_until(is_read, "the group is read")
    return served.ask("/states.json").document


def test_a_close_that_is_fed_to_a_worker_reaches_every_open_page(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path, page_server: PageServer
) -> None:
    candles = candles_until_now(260)
    with WorkerProcess(server.port, tmp_path, publish_interval=1) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, candles[:-4])
        wait_until(lambda: len(page_server.ask("/states.json").document["markets"]) == 2, "states")
        with Page(page_server) as first, Page(page_server) as second:
            shown = [page.next("all").document for page in (first, second)]
            for closing in (candles[-4:-2], candles[-2:]):
                feed(client, closing)
                for page in (first, second):
                    got = [state for market in _changes(page, 2) for state in market["states"]]
                    assert sorted((state["time_ms"], state["close"]) for state in got) == sorted(
                        (candle.close_time, candle.close) for candle in closing
                    )
        last = latest_state(client, "BTCUSDT")
        assert last is not None
        assert_scraped(page_server, last)
        (market,) = (
            each
            for each in page_server.ask("/states.json").document["markets"]
            if each["symbol"] == "BTCUSDT"
        )
        probs = last.regime_probs
        assert market["states"] == [
            {
                "time_ms": last.close_time_ms,
                "close": last.close,
                "sigma": last.sigma,
                "mu": last.mu,
                "ts": last.ts,
                "trend": probs.trend,
                "mr": probs.mr,
                "chop": probs.chop,
                "regime": last.regime,
                "missing": 0,
                "closes": 260,
            }
        ]
        closes = [one.close for one in candles if one.symbol == "BTCUSDT"]
        # All since the first state, which needs 257 closes.
        assert market["recent"] == closes[256:-1]
        assert shown[0]["settings"]["closes_needed"] == 257
        assert worker.terminate() == 0
    assert page_server.terminate() == 0
    assert "Traceback" not in page_server.log


def assert_scraped(served: PageServer, last: MarketStateRecord) -> None:
    """By the next reading of the group."""

    def number(name: str) -> float | None:
        return samples(served.ask("/metrics").body).get(f"marketstate_{name}", {}).get(("BTCUSDT",))

    wait_until(
        lambda: number("last_close_timestamp_seconds") == last.close_time_ms / 1_000, "it is read"
    )
    assert (number("sigma"), number("mu"), number("ts")) == (last.sigma, last.mu, last.ts)


def _changes(page: Page, markets: int) -> list[Any]:
    """Of so many markets: they may come in one event, or in several."""
    found: list[Any] = []
    while len(found) < markets:
        found += page.next("markets").document["markets"]
    return found


def test_a_page_that_connects_again_gets_only_what_is_new(
    client: redis.Redis, page_server: PageServer
) -> None:
    publish(client, [make_record(name, 0) for name in ("AAA", "BBB", "CCC")])
    wait_until(lambda: len(page_server.ask("/states.json").document["markets"]) == 3, "states")
    with Page(page_server) as page:
        seen = page.next("all").id
        publish(client, [make_record("AAA", 1, close=101.0), make_record("AAA", 2, close=102.0)])
        publish(client, [make_record("BBB", 1, close=201.0)])
        changes = _changes(page, 2)
    with Page(page_server, seen) as page:
        again = _changes(page, 2)
        publish(client, [make_record("AAA", 3, "mr", close=103.0)])
        (third,) = _changes(page, 1)
    closes = {one["symbol"]: [state["close"] for state in one["states"]] for one in changes}
    assert closes == {"AAA": [101.0, 102.0], "BBB": [201.0]}
    assert again == changes
    assert [state["close"] for state in third["states"]] == [103.0]
    assert "recent" not in third
    since_ms = make_record("AAA", 3).close_time_ms
    assert (third["since_ms"], third["since_known"]) == (since_ms, True)
    with Page(page_server, seen) as page:
        # It missed a change between, so it gets this market as a whole.
        whole = {one["symbol"]: one for one in _changes(page, 2)}
    assert whole["AAA"]["recent"] == [100.0, 101.0, 102.0]
    assert "recent" not in whole["BBB"]
    for foreign in ("", "x", f"{seen}9", "0-0", seen.replace(seen[0], "x")):
        with Page(page_server, foreign) as page:
            assert next(page.events).name == "all"


def test_the_series_of_a_market_is_what_plot_draws(
    server: EmbeddedRedis, client: redis.Redis, page_server: PageServer
) -> None:
    worker = SteppedWorker(server, "one")
    records = [
        make_record("AAPL/USD", i, ("mr", "chop")[i // 3 % 2], close=i + 1) for i in range(9)
    ]
    publish(client, [replace(one, missing=i % 2) for i, one in enumerate(records)])
    wait_until(lambda: page_server.ask("/states.json").document["markets"], "states")
    (series,) = from_stream(["AAPL/USD"], worker.settings, None).values()
    got = page_server.ask("/states/AAPL%2FUSD.json")
    expected = json.loads(json.dumps(drawn(series)))
    assert {name: got.document[name] for name in expected} == expected
    assert got.document["remarks"] == [*series.remarks()]
    assert (got.document["symbol"], got.document["kept"]) == ("AAPL/USD", 1_440)
    assert page_server.ask("/states/AAPL/USD.json").document == got.document
    assert page_server.ask("/states/NONE.json").status == 404


def test_the_files_of_the_page_are_served_from_the_package_and_asked_for_again(
    page_server: PageServer,
) -> None:
    folder = Path(app.__file__).parent / "page"
    served = {f"/assets/{one.name}": one for one in folder.iterdir()} | {"/": folder / "index.html"}
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    assert {".html", ".css", ".js"} <= {one.suffix for one in served.values()}
    for path, one in served.items():
        reply = page_server.ask(path)
        assert (reply.status, reply.body) == (200, one.read_bytes())
        assert reply.headers["cache-control"] == "no-cache"
        kind = kinds.get(one.suffix, "image/")
        assert reply.headers["content-type"].startswith(kind), path
        again = page_server.ask(path, If_None_Match=reply.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert page_server.ask(path, If_None_Match='"other"').status == 200


def test_health_and_metrics_are_what_status_and_metrics_say(
    server: EmbeddedRedis,
    client: redis.Redis,
    page_server: PageServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the same limits."""
    if not has_lag(client):
        pytest.skip("Redis 6.2 has no lag: each of them counts as far as it must")
    monkeypatch.setenv("MARKETSTATE_REDIS_PORT", str(server.port))

    def said() -> tuple[bool, str]:
        code = main(["status", "--json", "--max-lag", "4"])
        _, err = capsys.readouterr()
        return code == 0, err.removeprefix("marketstate: ") or "ok\n"

    def served() -> tuple[bool, str]:
        reply = page_server.ask("/healthz")
        return reply.status == 200, reply.text

    no_group = (False, "quantum:stream:market.klines has no group 'marketstate'; start a worker")
    wait_until(lambda: served()[1].startswith(no_group[1]), "there is no group")
    worker = SteppedWorker(server, "one", lease_seconds=600)
    worker.keep()
    feed(client, candles_until_now(258))
    worker.finish_all()
    wait_until(lambda: served() == (True, "ok\n") == said(), "all is well")
    feed(client, made_candles(MARKETS, 3))
    wait_until(lambda: served() == said() != (True, "ok\n"), "too many are unfinished")
    assert served() == (False, "6 entries are unfinished; allowed: 4\n")
    document = wait_for_group(page_server)
    main(["status", "--json"])
    status = json.loads(capsys.readouterr().out)
    group = document["group"]
    for name in ("lag", "lag_at_least", "pending"):
        assert group[name] == status[name]
    assert group["workers"] == [
        {"id": "one", "shards": 16, "seen_s_ago": group["workers"][0]["seen_s_ago"]}
    ]
    assert (group["shards"], group["shards_held"], group["workers_holding"]) == (16, 16, 1)
    assert group["symbols"] == {"fresh": 2, "stale": 0, "filling": 0}
    assert (group["healthy"], group["health"]) == (False, served()[1].strip())
    scraped = page_server.ask("/metrics")
    main(["metrics", "--per-symbol"])
    own = samples(capsys.readouterr().out.encode())
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
    got = samples(scraped.body)
    changing = {"read_timestamp_seconds", "oldest_unfinished_seconds"}
    for name in own.keys() - {f"marketstate_{each}" for each in changing}:
        if "timestamp" not in name:
            assert got[name] == own[name], name
    assert got.keys() == own.keys()


def test_what_a_filling_symbol_an_odd_entry_and_synthetic_prices_look_like(
    server: EmbeddedRedis, client: redis.Redis, page_server: PageServer
) -> None:
    worker = SteppedWorker(server, "one", lease_seconds=600)
    worker.keep()
    feed(client, [replace(candles_until_now(1)[0], symbol="NEWUSDT")])
    worker.finish_all()
    client.xadd(worker.keys.output_stream, {"symbol": "ODD", "regime": "up"})
    invented = replace(make_record("<script>", 0), source="synthetic")
    now_ms = int(time.time() * 1_000)
    publish(client, [replace(invented, close_time_ms=now_ms)])

    def is_all_read() -> bool:
        """The keys and the stream are read in turns."""
        group = wait_for_group(page_server)["group"]
        return bool(group["filling"] and group["unreadable"])

    wait_until(is_all_read, "it is filling, and one entry is counted")
    document = page_server.ask("/states.json").document
    group = document["group"]
    assert (group["filling"], group["symbols"]["filling"]) == (["NEWUSDT"], 1)
    assert (group["unreadable"], group["synthetic"]) == (1, True)
    (market,) = document["markets"]
    assert (market["symbol"], market["synthetic"]) == ("<script>", True)


def test_a_market_whose_states_have_left_the_stream_is_shown_by_its_record(
    server: EmbeddedRedis, client: redis.Redis, page_server: PageServer
) -> None:
    """And once, when its entry comes after all."""
    worker = SteppedWorker(server, "one", lease_seconds=600)
    worker.keep()
    feed(client, candles_until_now(258))
    worker.finish_all()
    last = latest_state(client, "ETHUSDT")
    assert last is not None
    client.delete(worker.keys.output_stream)
    with PageServer(server.port, page_server.log_path.parent) as served, Page(served) as page:
        page.next("all")
        shown = {one["symbol"]: one for one in _changes(page, 2)}
        assert [one["time_ms"] for one in shown["ETHUSDT"]["states"]] == [last.close_time_ms]
        publish(client, [last, replace(last, close_time_ms=last.close_time_ms + 60_000)])
        (change,) = _changes(page, 1)
        market = next(
            one
            for one in served.ask("/states.json").document["markets"]
            if one["symbol"] == "ETHUSDT"
        )
    assert [one["time_ms"] - last.close_time_ms for one in change["states"]] == [60_000]
    assert market["recent"] == [last.close]


def test_the_markets_of_all_partitions_are_shown_also_while_one_is_broken(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    workers = partition_workers(server)
    feed_by_symbol(client, made_candles(SYMBOLS, FILLED), PARTITIONS)
    work_all_off(workers)
    with PageServer(server.port, tmp_path, partitions=PARTITIONS) as served:
        document = wait_for_group(served)
        assert {each["symbol"] for each in document["markets"]} == set(SYMBOLS)
        assert document["settings"]["partitions"] == PARTITIONS
        assert document["group"]["shards_held"] == 32
        assert document["group"]["partitions"] == []
        assert served.ask("/healthz").status == 200
        client.delete(workers[1].keys.meta)
        client.xgroup_destroy(workers[1].keys.input, "marketstate")
        wait_until(lambda: served.ask("/healthz").status == 503, "one is broken")
        group = served.ask("/states.json").document["group"]
        (broken,) = group["partitions"]
        assert broken["tag"] == "{p01}"
        assert "has no group" in broken["trouble"]
        assert "1 of 2 partitions cannot be read, such as {p01}" in group["status_trouble"]
        assert group["shards_held"] == 16
        metrics = samples(served.ask("/metrics").body)
        assert metrics["marketstate_up"] == {("{p00}",): 1, ("{p01}",): 0}
    assert settings_of_all(workers[0]).partitions == PARTITIONS
