"""Candle files in several spellings through a real Redis and a worker: the same state."""

from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.core.state import MarketState
from marketstate.schemas.market_state import decode_market_state
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.replaying import run, stream_of
from tests.support.spellings import CANDLES, CLOSES, HOUR_MS, SPELLINGS, START_MS, SYMBOL, write

pytestmark = pytest.mark.one_redis_version

# One of each kind.
FED = ("12 columns in us", "Bitfinex's order, said", "CryptoDataDownload", "newest first, no names")
FED_TOO = ("flag confirm", "two feeds", "two spellings of the symbol", "zip of any name")


@pytest.mark.parametrize("names", [FED, FED_TOO])
def test_a_replay_publishes_the_state_of_the_series_whatever_its_spelling(
    names: tuple[str, ...], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    expected: Any = MarketState().get_state(SYMBOL, CLOSES)
    defaults = {"theta_file": "", "window_size": 300, "candle_interval": "1h"}
    for number, spelling in enumerate(each for each in SPELLINGS if each.name in names):
        path = write(tmp_path / str(number), spelling.files)
        feeding = ("replay", path, "--namespace", f"n{number}", "--workers", "1")
        code, log = run(server, tmp_path, *feeding, *spelling.options, **defaults)
        assert (code, "applied 300, emitted 44" in log) == (0, True), log
        entries: Any = client.xrevrange(stream_of(f"n{number}", output=True), count=1)
        record = decode_market_state(entries[0][1])
        probs = record.regime_probs
        assert (record.symbol, record.interval) == (spelling.symbol, "1h")
        assert (record.sigma, record.mu, record.ts) == tuple(
            expected[name] for name in ("sigma", "mu", "ts")
        )
        assert {"trend": probs.trend, "mr": probs.mr, "chop": probs.chop} == expected[
            "regime_probs"
        ]
        assert abs(record.close_time_ms - CANDLES[-1].close_time) < HOUR_MS // 2


def test_a_market_that_closes_is_fed_if_gaps_are_allowed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """A bad line is named all the same; both are counted apart."""
    path = tmp_path / "AAPL-1d.csv"
    rows = [f"{START_MS + i * 24 * HOUR_MS},{100 + i}" for i in (0, 1, 4, 5, 6, 7, 8)]
    path.write_text("\n".join(["open_time,close", *rows]) + "\n")
    feeding = ("replay", path, "--namespace", "a", "--max-backlog", "inf")
    code, log = run(server, tmp_path, *feeding, candle_interval="1d")
    assert (code, "2 candles of AAPL missing between" in log) == (2, True), log
    code, log = run(server, tmp_path, *feeding, "--allow-gaps", candle_interval="1d")
    assert (code, client.xlen(stream_of("a"))) == (0, 7), log
    assert "candles missing: 2; gaps: 1\n" in log
    path.write_text(path.read_text().replace(",105", ",null"))
    again = ("replay", path, "--namespace", "b", "--max-backlog", "inf")
    code, log = run(server, tmp_path, *again, "--allow-gaps", candle_interval="1d")
    assert (code, f"{path}, line 5: close is 'null'" in log) == (2, True), log
    assert client.exists(stream_of("b")) == 0
    code, log = run(server, tmp_path, *again, "--skip-bad", candle_interval="1d")
    assert (code, client.xlen(stream_of("b"))) == (0, 6), log
    assert "lines or entries left out: 1\n" in log
    assert "candles missing: 3; gaps: 2\n" in log


def test_options_for_candle_files_are_refused_where_they_would_do_nothing(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    recording = tmp_path / "a.jsonl"
    recording.touch()
    refused: dict[tuple[str, ...], str] = {
        (
            "replay",
            str(recording),
            "--namespace",
            "a",
            "--time",
            "open",
        ): "are for candle files",
        (
            *("plot", "--from", str(recording), "--out", str(tmp_path / "a.html")),
            *("--interval", "5m"),
        ): "are for candle files, not recordings",
        ("state", "--synthetic", "trend", "--symbol", "A"): "are for files: see FILE",
        ("demo", "--interval", "1h"): "are for files: see --file or --data",
        ("plot", "BTCUSDT", "--out", "a.png", "--skip-bad"): "are for files: see --from",
    }
    for command, says in refused.items():
        code, log = run(server, tmp_path, *command)
        assert (code, says in log) == (2, True), log
