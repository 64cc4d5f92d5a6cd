"""`marketstate describe`: quantiles, regimes and rules of the states of a history."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.cli import main
from marketstate.worker.commands.cells import cells
from marketstate.worker.commands.describe.rules import fired, rule
from marketstate.worker.commands.describe.sections import sections, short
from marketstate.worker.commands.describe.summary import summary_of
from marketstate.worker.commands.plot.series import of_records
from marketstate.worker.commands.report import as_text
from tests.support.candles import made_candles
from tests.support.records import make_record

# Two of trend, three of mr, one of trend, and after a gap four of chop, with a gap among them.
REGIMES = ("trend", "trend", "mr", "mr", "mr", "trend", "chop", "chop", "chop", "chop")
NUMBERS = (0, 1, 2, 3, 4, 5, 10, 11, 12, 20)
SIGMAS = (1, 5, 6, 2, 7, 8, 9, 1, 1, 5)


def records(symbol: str) -> list[MarketStateRecord]:
    return [
        make_record(symbol, number, regime, sigma=sigma / 1_000)
        for number, regime, sigma in zip(NUMBERS, REGIMES, SIGMAS, strict=True)
    ]


SERIES = of_records(records("AAA"), None)["AAA"]


def write_candles(folder: Path, symbol: str, count: int) -> Path:
    path = folder / f"{symbol}-1m.csv"
    rows = "".join(f"{one.close!r},{one.close_time}\n" for one in made_candles((symbol,), count))
    path.write_text(f"close,close_time\n{rows}")
    return path


def described(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["describe", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_shares_durations_and_changes_of_regimes_stop_at_gaps() -> None:
    found = summary_of([SERIES]).regimes
    assert {name: one.share for name, one in found.items()} == {
        "trend": 0.3,
        "mr": 0.3,
        "chop": 0.4,
    }
    assert {name: one.runs for name, one in found.items()} == {"trend": 2, "mr": 1, "chop": 2}
    assert (found["trend"].median_s, found["trend"].longest_s) == (90, 120)
    assert found["trend"].changes_to == {"mr": 1, "chop": 0}, "chop comes after a gap"
    assert found["mr"].changes_to == {"trend": 1, "chop": 0}
    assert summary_of([SERIES, SERIES]).changes == 4


def test_quantiles_are_of_all_states_together_and_sigma_grows_with_the_root_of_time() -> None:
    found = summary_of([SERIES, SERIES]).quantiles
    sigmas = [sigma / 1_000 for sigma in SIGMAS]
    assert found["sigma"].tolist() == pytest.approx(
        np.quantile(2 * sigmas, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)).tolist()
    )
    assert found["sigma per hour"].tolist() == pytest.approx((found["sigma"] * 60**0.5).tolist())
    assert found["sigma per day"].tolist() == pytest.approx((found["sigma"] * 1440**0.5).tolist())


def test_a_rule_fires_when_it_begins_to_hold() -> None:
    found = fired(rule("sigma >= 0.005"), [SERIES, SERIES])
    assert (found.states, found.share, found.times) == (12, 0.6, 6)
    assert found.times_per_day == pytest.approx(6 / (20 / 1440))
    assert fired(rule("p_mr>0.5"), [SERIES]).states == 3


@pytest.mark.parametrize("text", ["sigma", "sigma=1", "volume>=1", "ts>=x", "ts>=nan", "ts>=inf"])
def test_another_rule_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["describe", "--stream", "--threshold", text])
    assert end.value.code == 2
    assert "must be a rule such as 'sigma>=0.005'" in capsys.readouterr().err


def test_a_rule_of_percents_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Percents are what the tables show. It would never fire, in silence."""
    with pytest.raises(SystemExit):
        main(["describe", "--stream", "--threshold", "p_trend>=30"])
    assert "a probability is from 0 to 1, not in percent" in capsys.readouterr().err


def test_the_text_fits_on_80_columns_and_says_what_never_changed() -> None:
    many = [SERIES, *of_records((make_record("BBB", i) for i in range(9)), None).values()]
    lines = list(as_text(sections(many, [rule("sigma>=0.005")])))
    assert max(map(len, lines)) <= 80
    assert lines[0] == "2 symbols: 19 states"
    assert [line for line in lines if "throughout" in line] == [
        "chop throughout: see marketstate calibrate"
    ]


def test_columns_line_up_also_where_letters_are_wide() -> None:
    many = [
        series
        for symbol in ("AAA", "币安人生USDT" + 40 * "A")
        for series in of_records(records(symbol), None).values()
    ]
    lines = list(as_text(sections(many, [])))
    assert len({cells(line) for line in lines[2:5]}) == 1
    assert max(len(line) for line in lines if "states of 1m candles" in line) <= 80


def test_a_single_state_lasts_as_long_as_its_candle() -> None:
    hourly = msgspec.structs.replace(make_record("AAA", 1), interval="1h")
    single = list(of_records([hourly], None).values())
    assert summary_of(single).regimes["chop"].longest_s == 3_600
    assert fired(rule("sigma>0"), single).times_per_day == 24


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (-0.000123456, "-0.00012"),
        (999.7, "1000"),
        (1440.4, "1440"),
        (-1e8, "-1e+08"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_files_are_described_by_the_states_that_a_worker_would_calculate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_candles(tmp_path, symbol, 300) for symbol in ("AAAUSDT", "BBBUSDT")]
    page = tmp_path / "page.html"
    found = described(capsys, *map(str, paths), "--threshold", "ts>=0.1", "--out", str(page))
    assert found["all"]["states"] == 2 * (300 - 256)
    assert list(found["symbols"]) == ["AAAUSDT", "BBBUSDT"]
    one = found["symbols"]["AAAUSDT"]
    assert one["last_close_time_ms"] == made_candles(("AAAUSDT",), 300)[-1].close_time
    assert set(one["rules"]["ts>=0.1"]) == {"states", "share", "times", "times_per_day"}
    text = page.read_text()
    assert text.count("<h2>") == 4
    assert "they are no forecast" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_symbol_cannot_bring_markup_or_control_characters() -> None:
    evil = msgspec.structs.replace(make_record("A", 1), symbol="<b>\x1b[2J")
    [section] = sections(list(of_records([evil], None).values()), [])
    assert section.title.startswith("<b>?[2J: 1 state")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name files, or say --stream"),
        (["--stream", "few.csv"], "name files, or say --stream"),
        (["few.csv", "--out", "page.png"], "must end in .html"),
        (["--stream", "--skip-bad"], "are for files"),
        (["few.csv", "--namespace", "a"], "--namespace is for --stream"),
        (["few-1m.csv"], "has no state; a state needs 257 closes"),
    ],
)
def test_what_cannot_be_described_is_one_clear_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_candles(tmp_path, "few", 256)
    assert main(["describe", *arguments]) == 2
    assert says in capsys.readouterr().err
