"""`marketstate calibrate`: shares that are met, theta files, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from marketstate.core.theta import theta_hash
from marketstate.schemas.market_state import encode_record
from marketstate.schemas.recording import RecordedEntry, encode_entry, encode_header
from marketstate.worker.cli import main
from marketstate.worker.settings import settings_from
from tests.support.records import make_record
from tests.support.regime_walks import Floats, candles_of, random_walk, regime_walk

SHARES = {"trend": 0.3, "mr": 0.2, "chop": 0.5}
WANTED = "trend=0.3,mr=0.2,chop=0.5"


def history(folder: Path, returns: Floats, symbol: str = "AAAUSDT") -> str:
    path = folder / f"{symbol}-1m.csv"
    candles = candles_of({symbol: returns})
    rows = "".join(f"{one.close!r},{one.close_time}\n" for one in candles)
    path.write_text(f"close,close_time\n{rows}")
    return str(path)


def calibrate(*arguments: object) -> int:
    return main(["calibrate", *map(str, arguments)])


def shares_of(paths: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    capsys.readouterr()
    assert main(["describe", *paths, "--json"]) == 0
    regimes = json.loads(capsys.readouterr().out)["all"]["regimes"]
    return {name: found["share"] for name, found in regimes.items()}


def test_the_labels_of_a_written_theta_divide_the_history_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        history(tmp_path, walk(2_000, 5), symbol)
        for symbol, walk in (("AAAUSDT", random_walk), ("BBBUSDT", regime_walk))
    ]
    assert max(shares_of(paths, capsys).values()) > 0.6, "not so by the default"
    out = tmp_path / "theta.json"
    assert calibrate(*paths, "--shares", WANTED, "--out", out) == 0
    monkeypatch.setenv("MARKETSTATE_THETA_FILE", str(out))
    assert shares_of(paths, capsys) == pytest.approx(SHARES, abs=0.02)


def test_a_theta_file_says_where_it_came_from_and_its_hash_is_of_what_is_calculated(
    tmp_path: Path,
) -> None:
    out, path = tmp_path / "theta.json", history(tmp_path, random_walk(1_000, 1))
    assert calibrate(path, "--shares", WANTED, "--out", out) == 0
    document: Any = json.loads(out.read_text())
    about = document.pop("about")
    assert (about["files"], about["symbols"], about["states"]) == (
        ["AAAUSDT-1m.csv"],
        ["AAAUSDT"],
        1_000 - 256,
    )
    assert {"version", "interval", "first_close", "last_close", "method", "says"} <= set(about)
    assert str(tmp_path) not in out.read_text()
    assert set(document["regime"]["score"]) == {"a1", "b1"}, "only what differs from the default"
    found = settings_from({"MARKETSTATE_THETA_FILE": str(out)})
    assert found.theta_hash == theta_hash(document)


def test_parameters_of_the_theta_in_use_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, out = tmp_path / "before.json", tmp_path / "theta.json"
    before.write_text('{"vol": {"ewma_lambda": 0.97}, "regime": {"softmax_temp": 2}}')
    monkeypatch.setenv("MARKETSTATE_THETA_FILE", str(before))
    path = history(tmp_path, random_walk(1_000, 1))
    assert calibrate(path, "--shares", WANTED, "--out", out) == 0
    document = json.loads(out.read_text())
    assert document["vol"] == {"ewma_lambda": 0.97}
    assert "softmax_temp" not in document["regime"], "it is in the weights"
    assert document["regime"]["score"]["c1"] == 0.5


def test_without_skill_the_first_line_says_so_and_nothing_is_written_unless_anyway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "theta.json", tmp_path / "page.html"
    path = history(tmp_path, random_walk(3_000, 1))
    arguments = (path, "--ahead", 30, "--out", out, "--page", page)
    assert calibrate(*arguments) == 4
    printed = capsys.readouterr()
    assert printed.out.startswith("no skill: gain in log loss over base rates ")
    assert f"these weights have no skill; {out} was not written" in printed.err
    assert max(map(len, printed.out.splitlines())) <= 80
    assert not out.exists()
    squares = re.findall("<svg.*?</svg>", page.read_text())
    assert len(squares) == 3
    assert all(ElementTree.fromstring(svg).findall("circle") for svg in squares)
    assert "http" not in page.read_text().replace("http-equiv", "")
    assert calibrate(*arguments, "--anyway") == 0
    about = json.loads(out.read_text())["about"]
    assert about["says"].startswith("no skill")
    assert {"log_loss", "brier", "base rates", "default theta"} <= set(about["judged"])


def test_with_skill_the_theta_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "theta.json", history(tmp_path, regime_walk(20_000, 2))
    assert calibrate(path, "--ahead", 60, "--out", out) == 0
    assert capsys.readouterr().out.startswith("skill: gain in log loss over base rates +")
    document = json.loads(out.read_text())
    assert set(document) == {"about", "regime"}
    judged = document["about"]["judged"]
    assert judged["log_loss_gain_over_base_rates"][1] > 0.05
    for other in ("base rates", "default theta"):
        assert judged["log_loss"] < judged[other]["log_loss"]
        assert judged["brier"] < judged[other]["brier"]


def test_a_file_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running group may use it. It is refused before anything is read, which may take long."""
    out, path = tmp_path / "theta.json", history(tmp_path, random_walk(10, 1))
    out.write_text("{}")
    assert calibrate(path, "--shares", WANTED, "--out", out) == 2
    assert f"{out} already exists" in capsys.readouterr().err
    assert out.read_text() == "{}"


@pytest.mark.parametrize(
    ("returns", "arguments", "says"),
    [
        (np.zeros(400), ["--shares", WANTED], "cannot be divided so: the nearest is trend"),
        (random_walk(320, 1), ["--ahead", "70"], "no state is followed by 70 candles"),
        (random_walk(400, 1), ["--ahead", "60"], "states are too few for 5 folds"),
        (random_walk(400, 1), ["--ahead", "9"], "--ahead must be from 10 to 10000"),
        (random_walk(400, 1), ["--ahead", "60", "--folds", "1"], "--folds must be from 2 to 50"),
        (random_walk(400, 1), ["--shares", WANTED, "--folds", "4"], "are for --ahead"),
        (random_walk(400, 1), ["--ahead", "60", "--anyway"], "name its file with --out"),
        (
            random_walk(10, 1),
            ["--shares", WANTED, "--out", "none/a.json"],
            "there is no folder none",
        ),
        (
            random_walk(300, 1),
            ["--shares", WANTED, "--page", "none/a.html"],
            "there is no folder",
        ),
        (random_walk(256, 1), ["--shares", WANTED], "has no state; a state needs 257 closes"),
        (random_walk(300, 1), ["--shares", WANTED, "--page", "a.png"], "must end in .html"),
    ],
)
def test_what_cannot_be_calibrated_is_one_clear_line(
    returns: Floats,
    arguments: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert calibrate(history(tmp_path, returns), *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("marketstate: ") == 1
    assert says in error


@pytest.mark.parametrize(
    "text",
    ["trend=1", "trend=0.5,mr=0.5,chop=0.5", "trend=-1,mr=1,chop=1", "trend=x,mr=1,chop=0", ""],
)
def test_other_shares_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        calibrate("a-1m.csv", "--shares", text)
    assert end.value.code == 2
    assert "must be a share of each regime, 1 together" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["describe"], ["calibrate", "--shares", WANTED]])
def test_candles_of_different_intervals_are_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Candle files say theirs at once; what a recording holds is only known when it is read."""
    recording = tmp_path / "candles.jsonl"
    entries = (
        encode_entry(RecordedEntry(f"{one.close_time}-0", [b"data", msgspec.json.encode(one)]))
        for one in candles_of({"AAAUSDT": random_walk(300, 1)})
    )
    recording.write_bytes(encode_header("quantum:stream:market.klines") + b"".join(entries))
    minutes = history(tmp_path, random_walk(300, 1), "BBBUSDT")
    assert main([*command, str(recording), minutes]) == 0
    hours = tmp_path / "BBBUSDT-1h.csv"
    hours.write_text(
        "close,close_time\n"
        + "".join(f"100,{3_600_000 * hour}\n" for hour in range(400_000, 400_300))
    )
    assert main([*command, str(recording), str(hours)]) == 2
    assert "found AAAUSDT (1m), BBBUSDT (1h)" in capsys.readouterr().err


def test_published_states_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "states.jsonl"
    record = encode_record(make_record("AAA", 1))
    entry = RecordedEntry("1-0", [b"regime", b"chop", b"record", record.encode()])
    path.write_bytes(encode_header("quantum:stream:marketstate") + encode_entry(entry))
    assert calibrate(path, "--shares", WANTED) == 2
    assert "has published states" in capsys.readouterr().err
