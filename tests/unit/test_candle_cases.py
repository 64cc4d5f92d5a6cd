"""Candle files that gave a wrong number without a word: each is refused, or told and right."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marketstate.core.state import MarketState
from marketstate.schemas.candle import Candle
from marketstate.worker.cli import main
from marketstate.worker.commands.plot.sources import from_files
from marketstate.worker.commands.replay.sources import Sources
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.said import NOTHING
from marketstate.worker.files.findings import Findings
from marketstate.worker.settings import settings_from
from tests.support.spellings import CANDLES, CLOSES, HOUR_MS, hourly_candles, table

HOURLY = settings_from({"MARKETSTATE_CANDLE_INTERVAL": "1h"})
DAILY = settings_from({"MARKETSTATE_CANDLE_INTERVAL": "1d"})


def written(folder: Path, text: str, name: str = "BTCUSDT-1h.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def times_and_closes(candles: Iterable[Candle]) -> str:
    return table("ms,close", "open_time,close", candles=list(candles))


def state(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Any, str]:
    """What `state --json` prints, and what it tells on standard error."""
    assert main(["state", "--json", *map(str, arguments)]) == 0
    output, told = capsys.readouterr()
    return json.loads(output), told


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["state", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def sigma_of(closes: list[float]) -> float:
    found = MarketState().get_state("", closes)
    assert found is not None
    return found["sigma"]


def moved(one: Candle, ms: int) -> Candle:
    assert one.open_time is not None
    return msgspec.structs.replace(
        one, open_time=one.open_time + ms, close_time=one.close_time + ms
    )


def test_another_order_of_columns_is_refused_with_the_columns_and_read_if_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, table("ms,open,close,high,low,volume"))
    error = refused(capsys, path)
    first = CANDLES[0]
    assert f"open {first.open}, high {first.close}, low {first.high}, close {first.low}" in error
    assert "--columns time,open,close,high,low,volume" in error
    assert f"{path}, line 1: in 300 of 300 rows" in error
    found, _ = state(capsys, path, "--columns", "time,open,close,high,low,volume")
    assert found["sigma"] == sigma_of(CLOSES)


def test_an_exchange_whose_candles_open_outside_of_them_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It opens each candle at the last close, which need not be between low and high."""
    odd = [
        msgspec.structs.replace(one, open=one.high + 5) if i % 3 == 0 and one.high else one
        for i, one in enumerate(CANDLES)
    ]
    path = written(tmp_path, table("ms,open,high,low,close,volume", candles=odd))
    assert state(capsys, path)[0]["sigma"] == sigma_of(CLOSES)


def test_a_few_rows_that_cannot_be_are_no_other_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = [
        msgspec.structs.replace(one, high=1.0) if i < 9 else one for i, one in enumerate(CANDLES)
    ]
    path = written(tmp_path, table("ms,open,high,low,close,volume", candles=odd))
    assert state(capsys, path)[0]["sigma"] == sigma_of(CLOSES)


def test_an_order_that_changes_in_the_middle_of_a_file_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = hourly_candles(3_000)
    text = table("ms,open,high,low,close,volume", candles=many[:1_500])
    path = written(tmp_path, text + table("ms,open,close,high,low,volume", candles=many[1_500:]))
    assert "line 1501: in 500 of 1000 rows" in refused(capsys, path)


def test_two_intervals_in_one_folder_are_refused_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hours = written(tmp_path, times_and_closes(CANDLES))
    fours = written(tmp_path, times_and_closes(CANDLES[::4]), "BTCUSDT-4h.csv")
    says = f"the same candle interval; found {hours} (1h), {fours} (4h)"
    assert says in refused(capsys, tmp_path)
    with pytest.raises(ConfigurationError) as plot_error:
        from_files([tmp_path], NOTHING, Findings(), HOURLY, last=10)
    with pytest.raises(ConfigurationError) as replay_error:
        Sources([tmp_path], HOURLY, keep_ids=False)
    assert (says in str(plot_error.value), says in str(replay_error.value)) == (True, True)


def test_rows_that_have_not_closed_do_not_count_and_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--skip-bad kept the update instead of the close."""
    updates = [
        msgspec.structs.replace(one, close=one.close + 50, is_closed=False) for one in CANDLES
    ]
    both = [each for pair in zip(updates, CANDLES, strict=True) for each in pair]
    last = moved(updates[-1], HOUR_MS)
    path = written(
        tmp_path, table("ms,close,flag", "open_time,close,closed", candles=[*both, last])
    )
    for options in ((), ("--skip-bad",)):
        found, told = state(capsys, path, *options)
        assert (found["sigma"], found["close"]) == (sigma_of(CLOSES), CLOSES[-1])
        assert "candles that had not closed, left out: 301" in told
        assert f"{path}, line 2: closed is False" in told
        assert "lines or entries left out" not in told


def test_a_candle_of_the_future_cannot_have_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    future = moved(CANDLES[-1], 70 * 365 * 24 * HOUR_MS)
    path = written(tmp_path, times_and_closes([*CANDLES, future]))
    found, told = state(capsys, path)
    assert (found["sigma"], found["missing"]) == (sigma_of(CLOSES), 0)
    assert f"line 302: open_time {future.open_time} closes in the future" in told


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "BTCUSDT-1m.csv",
            table("ms,close,1h", "open_time,close,interval"),
            "line 2: interval is 1h, but the name or --interval says 1m",
        ),
        (
            "BTCUSDT-1h.csv",
            table("ms,close,slash", "open_time,close,symbol").replace("BTC/", "ETH/", 1),
            "line 2: symbol is ETH/USDT, but the name or --symbol says BTCUSDT",
        ),
        (
            "BTCUSDT-1h.csv",
            table("ms,close,1,1", "open_time,close,volume,close"),
            "line 1: two columns, close and close, are the same",
        ),
        (
            "BTCUSDT-4h.csv",
            times_and_closes(CANDLES),
            "its rows are 1h apart, but its name or --interval says 4h",
        ),
        (
            "BTCUSDT-1h.csv",
            times_and_closes(CANDLES[::4]),
            "its rows are 4h apart, but its name or --interval says 1h",
        ),
    ],
)
def test_a_name_that_contradicts_the_content_is_refused(
    name: str, text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, text, name)
    for options in ((), ("--skip-bad",)):
        error = refused(capsys, path, *options)
        assert (str(path) in error, says in error) == (True, True), error


def shares(count: int = 500) -> str:
    """Daily bars that leave out weekends, with three lines of null."""
    days = [i for i in range(count * 2) if i % 7 < 5][:count]
    rows = [
        f"{1_567_036_800_000 + day * 24 * HOUR_MS},{100 + one.close / 1_000}"
        for day, one in zip(days, hourly_candles(count), strict=True)
    ]
    for i in (400, 401, 430):
        rows[i] = rows[i].partition(",")[0] + ",null"
    return "open_time,close\n" + "\n".join(rows) + "\n"


def test_markets_may_close_at_weekends_while_bad_lines_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, shares(), "AAPL-1d.csv")
    assert f"{path}, line 402: close is 'null'; expected a number above 0" in refused(capsys, path)
    found, told = state(capsys, path, "--skip-bad")
    assert (found["prices"], found["missing"]) == (497, 105)
    assert "lines or entries left out: 3\n" in told
    assert [f"line {line}: close is 'null'" in told for line in (402, 403, 432)] == [True] * 3
    assert "candles missing: 201; gaps: 99\n" in told

    sources = Sources([path], DAILY, keep_ids=False)
    with pytest.raises(ConfigurationError, match="line 402: close is 'null'"):
        list(sources.read(Findings(skip_bad=False, allow_gaps=True)))
    with pytest.raises(ConfigurationError, match=r"2 candles of AAPL missing .* accepts gaps"):
        list(sources.read(Findings(skip_bad=False, allow_gaps=False)))
    good = written(tmp_path, shares().replace("null", "148.5"), "GOOD-1d.csv")
    findings = Findings(skip_bad=False, allow_gaps=True)
    assert len(list(Sources([good], DAILY, keep_ids=False).read(findings))) == 500
    assert (findings.gaps.count, findings.skipped.count) == (99, 0)


def test_a_gap_is_told_and_a_long_one_starts_the_window_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prices of another life are no history: without the rule, sigma is 0.7."""
    many = hourly_candles(500)
    other_coin = [msgspec.structs.replace(one, close=one.close / 1e6) for one in many[:100]]
    after = [moved(one, 437 * HOUR_MS) for one in many[100:]]
    path = written(tmp_path, times_and_closes([*other_coin, *after]))
    found, told = state(capsys, path)
    closes = [one.close for one in after]
    assert (found["sigma"], found["prices"], found["missing"]) == (sigma_of(closes), 400, 0)
    assert "candles missing: 437; gaps: 1\n" in told
    assert (
        "no candle of BTCUSDT closed between 2025-01-05 03:59:59 and 2025-01-23 09:59:59 UTC: "
        "the 100 prices before that long gap do not count"
    ) in told
    (series,) = from_files([path], NOTHING, Findings(allow_gaps=True), HOURLY, 9_999).values()
    assert len(series.times_ms) == 400 - 256
    assert "2025-01-23 09:59:59 UTC: the states start over\n" in capsys.readouterr().err
    short = written(tmp_path, times_and_closes([*other_coin, *after[:256]]))
    assert "has 256 prices after its last long gap; a state needs 257" in refused(capsys, short)


def test_a_gap_after_which_a_worker_forgets_a_symbol_starts_the_window_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it is no more candles than a state needs."""
    days = [moved(one, i * 23 * HOUR_MS) for i, one in enumerate(hourly_candles(350))]
    after = [moved(one, 31 * 24 * HOUR_MS) for one in days[60:]]
    path = written(tmp_path, times_and_closes([*days[:60], *after]), "BTCUSDT-1d.csv")
    assert state(capsys, path)[0]["prices"] == 290
    monkeypatch.setenv("MARKETSTATE_RETIRE_AFTER", "never")
    assert state(capsys, path)[0]["prices"] == 350


def test_candles_of_months_follow_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They differ in length, and are as far apart as MARKETSTATE_RETIRE_AFTER."""
    months = [(2000 + i // 12, i % 12 + 1) for i in range(300)]
    rows = [
        f"{year}-{month:02}-01,{one.close}"
        for (year, month), one in zip(months, CANDLES, strict=True)
    ]
    path = written(tmp_path, "\n".join(["open_time,close", *rows]), "BTCUSDT-1M.csv")
    found, told = state(capsys, path)
    assert (found["sigma"], found["prices"], found["missing"]) == (sigma_of(CLOSES), 300, 0)
    assert told == ""


@pytest.mark.parametrize("row", ['{ms},{close},"x', '{ms},"{close}"0,', '"{ms},{close},'])
def test_a_quote_that_is_left_open_costs_one_line(
    row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not all those up to the next quote, without a word if its column is not used."""
    rows = [f"{one.open_time},{one.close}," for one in CANDLES]
    rows[40] = row.format(ms=CANDLES[40].open_time, close=CANDLES[40].close)
    path = written(tmp_path, "open_time,close,note\n" + "\n".join(rows))
    told = f"{path}, line 42: a quote is not closed in its line, or not at the end of its cell"
    assert told in refused(capsys, path)
    rows[40] = rows[40].replace('"', "")
    found, told_then = state(capsys, path, "--skip-bad")
    assert found["prices"] == 299
    assert found["sigma"] == sigma_of([*CLOSES[:40], *CLOSES[41:]])
    assert f"lines or entries left out: 1\n  {told}\n" in told_then


def test_a_quote_may_be_open_in_the_first_line_and_blanks_may_follow_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f'"{one.open_time}" , "{one.close}" ,' for one in CANDLES]
    path = written(tmp_path, "\n".join(rows))
    said = ("--columns", "time,close,-", "--time", "open")
    assert state(capsys, path, *said)[0]["sigma"] == sigma_of(CLOSES)
    rows[0] = f'{CANDLES[0].open_time},{CLOSES[0]},"'
    path = written(tmp_path, "\n".join(rows))
    assert f"{path}, line 1: a quote is not closed" in refused(capsys, path, *said)


def test_what_a_file_holds_cannot_move_the_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in (
        "time,\x1b[2Jx\n1,2\n",
        "\x1b[2J\n1,2\n",
        f"open_time,close,symbol\n{CANDLES[0].open_time},1,\x1b[2J\n",
        f"open_time,close\n{CANDLES[0].open_time},\x1b[2J\n",
        "open_time,close\n\x1b[2J,1\n",
        "time,close\n2025-01-01\x1b00:00,1\n",
        "1,2,\x1b[2J\n",
    ):
        error = refused(capsys, written(tmp_path, text))
        assert error.rstrip("\n").isprintable(), error


def test_a_short_gap_is_told_and_counted_within_the_window_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, times_and_closes([*CANDLES[:20], *CANDLES[25:100], *CANDLES[112:]]))
    assert state(capsys, path)[0]["missing"] == 12
    assert main(["state", str(path)]) == 0
    output, told = capsys.readouterr()
    assert "missing 12 candles among those that the state is calculated from" in output
    assert "candles missing: 17; gaps: 2\n" in told
    assert "5 candles of BTCUSDT missing between open_time 1735758000000 and open_time" in told


def test_a_candle_of_two_feeds_counts_once_and_another_close_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Closing at ...999 and at ...000, it was applied twice: sigma was 12 % off."""
    later = [msgspec.structs.replace(one, close_time=one.close_time + 1) for one in CANDLES]
    later[7] = msgspec.structs.replace(later[7], close=1.0)
    rows = "".join(
        f"{each.close_time},{each.close}\n"
        for pair in zip(CANDLES, later, strict=True)
        for each in pair
    )
    path = written(tmp_path, f"close_time,close\n{rows}")
    found, told = state(capsys, path)
    assert (found["sigma"], found["prices"]) == (sigma_of(CLOSES), 300)
    assert "candles that came twice: 299\n" in told
    assert "candles that came twice with different closes, of which the first counts: 1\n" in told
    assert f"line 17: close_time {later[7].close_time} is the candle of {path}, line 16" in told
    assert f": close 1.0, there {CLOSES[7]}" in told


def test_two_feeds_in_two_files_count_once(tmp_path: Path) -> None:
    later = "".join(f"{one.close_time + 1},{one.close}\n" for one in CANDLES)
    written(tmp_path, "close_time,close\n" + later, "BTC-USDT-1h.csv")
    written(tmp_path, times_and_closes(CANDLES), "BTCUSDT-1h.csv")
    findings = Findings(allow_gaps=False)
    assert len(list(Sources([tmp_path], HOURLY, keep_ids=False).read(findings))) == 300
    assert findings.duplicates.count == 300
    assert any(
        "BTCUSDT is taken for the same symbol as BTC-USDT" in note for note in findings.notes
    )


def test_messages_show_what_is_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They named a close time that no one had written."""
    rows = times_and_closes(CANDLES).splitlines(keepends=True)
    path = written(tmp_path, "".join([*rows[:20], rows[10], *rows[20:]]))
    assert (
        f"{path}, line 21: open_time {CANDLES[9].open_time} is earlier than open_time "
        f"{CANDLES[18].open_time} of {path}, line 20; --skip-bad leaves such lines out"
    ) in refused(capsys, path)
    assert state(capsys, path, "--skip-bad")[0]["sigma"] == sigma_of(CLOSES)
