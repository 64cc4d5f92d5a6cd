"""`marketstate state`: the state of a price file, in numbers and in words, without Redis."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from marketstate.core.state import MarketState
from marketstate.worker.cli import main
from marketstate.worker.engine.preflight import KNOWN_STATE, KNOWN_WINDOW
from tests.support.candles import made_candles

CANDLES = made_candles(("BTCUSDT",), 300)
CANDLE_ROWS = "close,close_time\n" + "".join(f"{one.close},{one.close_time}\n" for one in CANDLES)
PRICES = "".join(f"{price}\n" for price in KNOWN_WINDOW)


def state_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["state", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("text", [PRICES, f"close\n{PRICES}", f"\ufeffclose\r\n\n{PRICES}"])
def test_prices_alone_have_a_state_with_or_without_a_header(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.csv").write_text(text)
    found = state_of(capsys, str(tmp_path / "mine.csv"))
    assert pytest.approx({name: found[name] for name in KNOWN_STATE}, rel=1e-9) == KNOWN_STATE
    assert (found["symbol"], found["prices"], found["close_time_ms"]) == ("mine", 257, None)


def test_candles_have_the_same_state_as_their_closes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "BTCUSDT-1m.csv.gz"
    path.write_bytes(gzip.compress(CANDLE_ROWS.encode()))
    found = state_of(capsys, str(path))
    expected: Any = MarketState().get_state("BTCUSDT", [one.close for one in CANDLES])
    assert {name: found[name] for name in expected} == expected
    assert (found["symbol"], found["close_time_ms"]) == ("BTCUSDT", CANDLES[-1].close_time)


@pytest.mark.parametrize(
    ("kind", "regime"), [("trend", "trend"), ("mean_revert", "mr"), ("chop", "chop")]
)
def test_synthetic_prices_have_the_regime_of_their_name_and_the_output_is_repeatable(
    kind: str, regime: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = state_of(capsys, "--synthetic", kind)
    assert found["regime"] == regime
    assert state_of(capsys, "--synthetic", kind) == found


def test_it_says_in_words_what_the_numbers_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "--synthetic", "trend"]) == 0
    text = capsys.readouterr().out
    assert "BTCUSDT: 300 prices until 2026-01-01 11:59:59 UTC" in text
    assert "Most likely trend" in text
    assert "drifts up" in text
    for name in ("sigma", "mu", "ts", "dp", "vr", "spike_proxy"):
        assert text.count(name) >= 2, f"{name} is shown and explained"


def test_a_regime_of_mr_with_a_ratio_above_1_is_not_called_a_swing_around_a_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its sentences contradicted each other: no drift, and a drift stronger than the noise."""
    (tmp_path / "rising.csv").write_text("".join(f"{price}\n" for price in range(1, 301)))
    found = state_of(capsys, str(tmp_path / "rising.csv"))
    text = "\n".join(found["reading"])
    assert (found["regime"], "drifts up" in text) == ("mr", True)
    assert "vr is above 1 (momentum)" in text
    assert ("swings around a mean" in text, "without a drift" in text) == (False, False)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("few.csv", "1\n" * 256, "has 256 prices; a state needs 257 or more"),
        (
            "BTCUSDT-1m.csv",
            CANDLE_ROWS[: CANDLE_ROWS.index("\n", 999)],
            "prices; a state needs 257 or more",
        ),
        ("word.csv", "1\n2\nx\n", "line 3: 'x' is not a price"),
        ("long.csv", "1" * 70_000, "line 1: not a price file: a line has more than 65,536"),
        ("zero.csv", "price\n0\n", "line 2: '0' is not a price"),
        ("nan.csv", "nan\n1\n", "line 1: 'nan' is not a price"),
        ("empty.csv", "", "has 0 prices"),
        ("banner.csv", "# prices\n1\n", "line 1: '# prices' is not a price; expected one number"),
        ("dollar.csv", "$93,5\n1\n", "the name must give symbol and interval"),
        ("null.csv", "null\n1\n", "oldest first, after at most one line with the name of the"),
        ("volume.csv", "volume\n1\n", "its only column is volume; a state needs closes"),
        ("BTCUSDT-1m.csv", "close,close_time\n" + "1,1746373259999\n" * 2, "has 1 prices"),
        ("arabic.csv", "1\n\u0663\n", "line 2: '\u0663' is not a price"),
        (
            "BTCUSDT-1m.csv",
            "close,open_time,x\n1,1746373200000,0\n",
            "has no candles that have closed: line 2: x is 0",
        ),
        ("na.csv", "N/A\n1\n", "line 1: 'N/A' is not a price"),
        ("prices.json", "[1, 2, 3]", "seems to be JSON: it starts with '[1, 2, 3]'; expected one"),
        ("BTCUSDT-1m.jsonl", '{"close":1,"t":2}', 'seems to be JSON: it starts with \'{"close":1'),
        ("comma.csv", "93576,10\n93577,5\n", "line 1: '93576,10' may be one price with a decimal"),
        ("zip.csv.gz", "not gzip", "has 0 prices"),
        ("bytes.csv", "\udcff", r"line 1: '\\xff' is not a price"),
    ],
)
def test_what_has_no_state_is_one_clear_line(
    name: str, text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert main(["state", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("marketstate: ") == 1
    assert str(path) in error
    assert says in error
