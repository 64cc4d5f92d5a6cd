"""What the operators' commands show of longer intervals."""

import json
import re
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import decode_record
from marketstate.schemas.reader import StateReader, latest_state
from marketstate.worker.cli import main
from marketstate.worker.engine.utc import utc
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import made_candles
from tests.support.exposition import samples
from tests.support.page_server import Page, PageServer
from tests.support.partitioned import feed_by_symbol
from tests.support.small_workers import small_worker, work_off
from tests.support.terminal import Terminal
from tests.support.worker_process import OUTPUT, feed, wait_until

pytestmark = pytest.mark.one_redis_version
NAMES = "1m,3m,4h"
MINUTE_MS = 60_000


def candles() -> list[Candle]:
    """Those of two symbols end now, and one of them lacks two of 3m; another has just begun."""
    made = made_candles(("BTCUSDT", "ETHUSDT"), 700)
    to_now_ms = int(time.time() * 1_000) - made[-1].close_time
    shift_ms = to_now_ms // MINUTE_MS * MINUTE_MS
    now = [replace(one, close_time=one.close_time + shift_ms) for one in made]
    lacking = [one for i, one in enumerate(now) if one.symbol == "BTCUSDT" or not 600 <= i < 618]
    return lacking + [replace(one, symbol="NEWUSDT") for one in now[-2:-1]]


class Shown:
    """A group with longer intervals, and the commands about it."""

    def __init__(self, server: EmbeddedRedis, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = server
        self._capsys = capsys

    def feed(self, client: redis.Redis, **settings: Any) -> None:
        worker = small_worker(self.server, start="replay", **settings)
        feed(client, candles())
        work_off(worker)

    def feed_partitions(self, client: redis.Redis, partitions: int) -> None:
        feed_by_symbol(client, candles(), partitions)
        for number in range(partitions):
            settings: Any = {"partitions": partitions, "partition": number}
            work_off(small_worker(self.server, start="replay", intervals=NAMES, **settings))

    def command(self, *words: str) -> str:
        code = main([*words])
        captured = self._capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    def refused(self, *words: str) -> str:
        assert main([*words]) == 2
        return self._capsys.readouterr().err


@pytest.fixture
def shown(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shown:
    monkeypatch.setenv("MARKETSTATE_REDIS_PORT", str(server.port))
    monkeypatch.setenv("MARKETSTATE_INTERVALS", NAMES)
    return Shown(server, capsys)


def newest_ms(client: redis.Redis, interval: str, symbol: str) -> int:
    record: Any = client.get(f"quantum:marketstate.{interval}-record:{symbol}")
    return decode_record(record).close_time_ms


def test_status_has_a_line_for_each_longer_interval(shown: Shown, client: redis.Redis) -> None:
    """G8: symbols without any mark of the interval are filling, too."""
    shown.feed(client, intervals=NAMES)
    status = json.loads(shown.command("status", "--json"))
    last_ms = newest_ms(client, "3m", "BTCUSDT")
    assert last_ms == newest_ms(client, "3m", "ETHUSDT")
    age_s = status["read_ms"] / 1_000 - last_ms / 1_000
    nothing = {"emitted": 0, "gaps": 0, "restarted": 0, "fresh": 0, "stale": 0}
    assert status["intervals"] == [
        {
            "interval": "3m",
            "emitted": client.xlen(f"{OUTPUT}.3m"),
            "gaps": 1,
            "restarted": 0,
            "fresh": 2,
            "stale": 0,
            "filling": 1,
            "last_emitted_ms": last_ms,
            "age_s": pytest.approx(age_s),
        },
        {"interval": "4h", "filling": 3, "last_emitted_ms": None, "age_s": None} | nothing,
    ]
    rows = [" ".join(line.split()) for line in shown.command("status").splitlines()]
    names = "interval emitted gaps restarted fresh stale filling last state (UTC) age"
    three, four = rows[rows.index(names) + 1 :][:2]
    emitted = client.xlen(f"{OUTPUT}.3m")
    assert three.rpartition(" ")[0] == f"3m {emitted} 1 0 2 0 1 {utc(last_ms)}"
    assert four == "4h 0 0 0 0 0 3 none yet -"


def test_without_longer_intervals_the_status_is_as_ever(
    shown: Shown, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MARKETSTATE_INTERVALS")
    shown.feed(client)
    assert "intervals" not in json.loads(shown.command("status", "--json"))
    assert "interval" not in shown.command("status")


def test_with_partitions_the_status_has_the_sum_of_each_interval(
    shown: Shown, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETSTATE_PARTITIONS", "2")
    shown.feed_partitions(client, 2)
    three, _ = json.loads(shown.command("status", "--json"))["intervals"]
    lengths = [client.xlen(f"{OUTPUT}.3m:{{p0{number}}}") for number in range(2)]
    assert three["emitted"] == sum(lengths)
    assert (three["fresh"], three["filling"], three["gaps"]) == (2, 1, 1)


def test_the_metrics_of_an_interval_are_what_its_status_says(
    shown: Shown, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G8; and the user for metrics may read them."""
    shown.feed(client, intervals=NAMES)
    set_user(client, "marketstate-metrics", "secret")
    monkeypatch.setenv("MARKETSTATE_REDIS_USERNAME", "marketstate-metrics")
    monkeypatch.setenv("MARKETSTATE_REDIS_PASSWORD", "secret")
    text = shown.command("metrics", "--per-symbol")
    client.acl_deluser("marketstate-metrics")
    got = samples(text.encode())
    emitted = client.xlen(f"{OUTPUT}.3m")
    assert got["marketstate_interval_states_emitted_total"] == {("3m",): emitted, ("4h",): 0}
    assert got["marketstate_interval_gaps_total"] == {("3m",): 1, ("4h",): 0}
    assert got["marketstate_interval_symbols"] == {
        (interval, condition): count
        for interval, counts in {"3m": (2, 0, 1), "4h": (0, 0, 3)}.items()
        for condition, count in zip(("fresh", "stale", "filling"), counts, strict=True)
    }
    last_s = newest_ms(client, "3m", "BTCUSDT") / 1_000
    assert got["marketstate_interval_last_state_timestamp_seconds"] == {("3m",): last_s}
    assert got["marketstate_states_emitted_total"] == {(): client.xlen(OUTPUT)}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        state = latest_state(client, symbol, interval="3m")
        assert state is not None
        for name in ("sigma", "mu", "ts"):
            assert got[f"marketstate_interval_{name}"]["3m", symbol] == getattr(state, name)


@pytest.mark.parametrize("partitions", [None, 2])
def test_a_plot_has_the_states_of_the_interval_that_is_named(
    partitions: int | None,
    shown: Shown,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if partitions:
        monkeypatch.setenv("MARKETSTATE_PARTITIONS", str(partitions))
        shown.feed_partitions(client, partitions)
    else:
        shown.feed(client, intervals=NAMES)
    out = tmp_path / "page.html"
    read = StateReader(
        client, group="a", consumer="b", start="0", partitions=partitions, interval="3m"
    )
    entries = sum(client.xlen(key) for key in client.keys(f"{OUTPUT}.3m*"))
    states = [one for one in islice(read, entries) if one.symbol == "ETHUSDT"]
    # However it is written.
    said = shown.command("plot", "ETHUSDT", "--interval", "3min", "--out", str(out))
    assert f"ETHUSDT: {len(states)} states" in said
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', out.read_text())
    found = json.loads(data)
    assert found["numbers"]["close"] == [one.close for one in states]
    assert "states of 3m candles" in out.read_text()
    shown.command("plot", "ETHUSDT", "--interval", "1m", "--out", str(out))
    assert "states of 1m candles" in out.read_text()


def test_an_interval_without_states_is_refused_and_says_which_there_are(
    shown: Shown, client: redis.Redis, tmp_path: Path
) -> None:
    shown.feed(client, intervals=NAMES)
    out = str(tmp_path / "page.html")
    said = shown.refused("plot", "BTCUSDT", "--interval", "5m", "--out", out)
    assert "5m is not one of the intervals of MARKETSTATE_INTERVALS, which are 1m, 3m, 4h" in said
    said = shown.refused("plot", "BTCUSDT", "--interval", "4h", "--out", out)
    assert "quantum:stream:marketstate.4h at " in said
    assert "has no state of BTCUSDT" in said
    said = shown.refused("plot", "BTCUSDT", "--interval", "3m", "--time", "open", "--out", out)
    assert "--symbol, --columns, --time and --skip-bad are for files: see --from" in said


def test_top_shows_one_interval_and_a_key_shows_the_next(shown: Shown, client: redis.Redis) -> None:
    shown.feed(client, intervals=NAMES)
    strength = {}
    for name in ("1m", "3m"):
        state = latest_state(client, "BTCUSDT", interval=None if name == "1m" else name)
        assert state is not None
        strength[name] = f"{state.ts:.4f}"
    port = shown.server.port
    with Terminal("top", environ={}, redis_port=port, intervals=NAMES) as terminal:
        terminal.wait_for("i interval:1m ")
        terminal.wait_for(strength["1m"])
        terminal.press("i")
        terminal.wait_for("i interval:3m ")
        terminal.wait_for(strength["3m"])
        assert not any(strength["1m"] in line for line in terminal.screen)
        assert "workers 1  lag 0  pending 0" in terminal.screen[1]
        terminal.press("i")
        terminal.wait_for("no states yet in quantum:stream:marketstate.4h")
        terminal.press("i")
        terminal.wait_for("i interval:1m ")
        terminal.wait_for(strength["1m"])
        terminal.press("q")
        assert terminal.exit_code() == 0
    options = ("--interval", "3m")
    with Terminal("top", *options, environ={}, redis_port=port, intervals=NAMES) as terminal:
        terminal.wait_for("i interval:3m ")
        terminal.wait_for(strength["3m"])


def test_top_refuses_an_interval_that_is_not_published(server: EmbeddedRedis) -> None:
    options = ("--interval", "5m")
    with Terminal("top", *options, environ={}, redis_port=server.port, intervals=NAMES) as terminal:
        assert terminal.exit_code() == 2
        assert "5m is not one of the intervals of MARKETSTATE_INTERVALS" in terminal.written


def test_the_page_has_the_states_of_the_interval_that_is_asked_for(
    shown: Shown, client: redis.Redis, tmp_path: Path
) -> None:
    """And its metrics are those of `marketstate metrics`."""
    shown.feed(client, intervals=NAMES)
    with PageServer(shown.server.port, tmp_path, "--per-symbol", intervals=NAMES) as served:
        wait_until(
            lambda: served.ask("/states.json?interval=3m").document["group"]["filling"],
            "the group is read",
        )
        for name in ("1m", "3m"):
            latest = latest_state(client, "BTCUSDT", interval=None if name == "1m" else name)
            assert latest is not None
            document = served.ask(f"/states.json?interval={name}").document
            (market,) = (one for one in document["markets"] if one["symbol"] == "BTCUSDT")
            assert market["states"][0]["ts"] == latest.ts
            assert document["settings"]["interval"] == name
            assert document["settings"]["intervals"] == ["1m", "3m", "4h"]
            assert document["group"]["symbols"] == {"fresh": 2, "stale": 0, "filling": 1}
            assert document["group"]["filling"] == ["NEWUSDT"]
            series = served.ask(f"/states/BTCUSDT.json?interval={name}").document
            assert series["interval"] == name
            assert series["numbers"]["close"][-1] == latest.close
            assert series["numbers"]["ts"][-1] == pytest.approx(latest.ts, abs=1e-6)
            with Page(served, path=f"/events?interval={name}") as page:
                assert page.next("all").document["markets"] == document["markets"]
        without = served.ask("/states.json").document
        assert without["settings"] == served.ask("/states.json?interval=1m").document["settings"]
        assert served.ask("/states.json?interval=4h").document["markets"] == []
        for path in ("/states.json", "/states/BTCUSDT.json", "/events"):
            refused = served.ask(f"{path}?interval=5m")
            assert (refused.status, refused.text) == (
                404,
                "no such interval; there are 1m, 3m, 4h\n",
            )
        scraped = samples(served.ask("/metrics").body)
    own = samples(shown.command("metrics", "--per-symbol").encode())
    assert scraped.keys() == own.keys()
    of_intervals = [name for name in own if name.startswith("marketstate_interval_")]
    assert {name: scraped[name] for name in of_intervals} == {
        name: own[name] for name in of_intervals
    }
