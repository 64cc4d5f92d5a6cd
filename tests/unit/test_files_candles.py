"""Candle files in the forms that Binance and others publish, and their possible errors."""

import gzip
from pathlib import Path

import pytest

from marketstate.schemas.candle import Candle
from marketstate.worker.commands.replay.sources import Sources
from marketstate.worker.errors import ConfigurationError, FileUnusable
from marketstate.worker.files.candles.columns import BINANCE_COLUMNS, PLAIN_COLUMNS
from marketstate.worker.files.candles.file import read_file
from marketstate.worker.files.findings import Findings
from marketstate.worker.settings import settings_from
from tests.support.candles import MINUTE_MS, START_MS, candle, made_candles
from tests.support.replaying import SYMBOLS, binance_row, candle_folder

CANDLES = made_candles(("BTCUSDT",), 5)
ROWS = [binance_row(one) for one in CANDLES]
NAMES = ",".join(BINANCE_COLUMNS) + "\n"


def read(path: Path) -> list[Candle]:
    return [found.candle for found in read_file(path)]


def written(folder: Path, content: str, name: str = "BTCUSDT-1m-2025-05-04.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def sources(*paths: Path) -> Sources:
    return Sources(paths, settings_from({}), keep_ids=False)


def plain(one: Candle, unit: int = 1) -> str:
    assert one.open_time is not None
    return f"{one.open_time * unit},{one.open},{one.high},{one.low},{one.close},{one.volume}\n"


@pytest.mark.parametrize(
    "content",
    [
        "".join(ROWS),
        NAMES + "".join(ROWS),
        "\ufeff" + NAMES.title().replace("_", " ") + "\r\n".join(ROWS),
        "".join(map(plain, CANDLES)),
        ",".join(PLAIN_COLUMNS) + "\n" + "".join(map(plain, CANDLES)),
        "".join(plain(one, 1_000) for one in CANDLES),
        "".join(
            row.replace(f"{one.open_time},", f"{one.open_time}000,").replace(
                f"{one.close_time},", f"{one.close_time}999,"
            )
            for row, one in zip(ROWS, CANDLES, strict=True)
        ),
    ],
    ids=["12 columns", "named", "named oddly", "6 columns", "6 named", "6 in us", "12 in us"],
)
def test_every_published_form_gives_the_same_candles(content: str, tmp_path: Path) -> None:
    assert read(written(tmp_path, content)) == CANDLES


def test_bad_rows_are_refused_or_counted(tmp_path: Path) -> None:
    broken = {
        3: ("some text\n", "found 1 columns, expected 12"),
        4: (binance_row(candle("BTCUSDT", -2, 1.0)), "close_time 1746373139999 is earlier than"),
        5: (ROWS[3].replace("0.0,7", "0.0,7,8"), "found 13 columns, expected 12"),
        6: (ROWS[4].replace(str(CANDLES[4].close), "high"), "open is 'high'; expected a number"),
    }
    path = written(tmp_path, ROWS[0] + ROWS[1] + "".join(row for row, _ in broken.values()))
    findings = Findings(skip_bad=True)
    assert [found.candle for found in read_file(path, findings)] == CANDLES[:2]
    report = list(findings.report())
    for line, (_, says) in broken.items():
        assert any(f"{path}, line {line}: " in each and says in each for each in report), says
    with pytest.raises(FileUnusable, match=f"{path}, line 3: found 1 columns"):
        read(path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("noon,1,1,1,1,1\n", "time: 'noon' is not a time; expected s, ms, us or ns"),
        ("17463732,1,1,1,1,1\n", "time: '17463732' is not a time"),
        (f"{START_MS},1,1,1,abc,1\n", "close is 'abc'; expected a number"),
        (f"{START_MS},1,1,1,nan,1\n", "close is 'nan'; expected a number above 0"),
        (f"{START_MS},1,1,1,-1,1\n", "close is '-1'; expected a number above 0"),
        (f"{START_MS},1,1,1,1\n", "found 5 columns, expected 6"),
        (f"{START_MS},1,1,1,{'1' * 70_000},1\n", "a line has more than 65,536 characters"),
    ],
)
def test_a_row_with_a_bad_value_is_refused(row: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, plain(candle("BTCUSDT", -1, 1.0)) + row)
    with pytest.raises(FileUnusable, match=f"{path}, line 2: .*{says}"):
        read(path)


def test_columns_without_names_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match="line 1: 3 columns without names; expected 6 or 12"):
        read(written(tmp_path, f"{START_MS},1,2\n"))
    with pytest.raises(FileUnusable, match="line 1: no column close among time, price"):
        read(written(tmp_path, "time,price\n1,2\n"))
    with pytest.raises(FileUnusable, match="no column open_time, close_time or time among"):
        read(written(tmp_path, "when;close\n1;2\n"))
    with pytest.raises(FileUnusable, match="csv is empty"):
        read(written(tmp_path, ""))


def test_a_file_that_is_cut_off_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-1m.csv.gz"
    path.write_bytes(gzip.compress("".join(ROWS).encode())[:-4])
    findings = Findings(skip_bad=True)
    assert [found.candle for found in read_file(path, findings)] == CANDLES
    assert findings.skipped.count == 1
    with pytest.raises(FileUnusable, match=f"{path}, line 6: not a candle file from here on"):
        read(path)


def test_missing_candles_are_refused_or_counted_across_files(tmp_path: Path) -> None:
    """A bad line is counted apart, and a candle that is in two files counts once."""
    first = written(tmp_path, "".join(ROWS[:2]), "BTCUSDT-1m-2025-05-04.csv")
    second = written(tmp_path, ROWS[1] + "x\n" + ROWS[4], "BTCUSDT-1m-2025-05-05.csv")
    with pytest.raises(FileUnusable, match=f"{second}, line 2: found 1 columns, expected 12; --sk"):
        list(sources(first, second).read(Findings(skip_bad=False, allow_gaps=True)))
    findings = Findings(skip_bad=True)
    assert len(list(sources(first, second).read(findings))) == 3
    report = "\n".join(findings.report())
    assert f"{second}, line 3: 2 candles of BTCUSDT missing between close_time" in report
    assert (findings.skipped.count, findings.gaps.count, findings.missing) == (1, 1, 2)
    assert findings.duplicates.count == 1
    third = written(tmp_path, ROWS[1] + ROWS[4], "BTCUSDT-1m-2025-05-06.csv")
    with pytest.raises(FileUnusable, match=r"missing between .*; --allow-gaps accepts gaps"):
        list(sources(third).read(Findings(allow_gaps=False)))
    assert len(list(sources(third).read(Findings(allow_gaps=True)))) == 2


def test_several_symbols_are_merged_by_time(tmp_path: Path) -> None:
    times = [item.time_ms for item in sources(candle_folder(tmp_path, 4)).read(Findings())]
    closes = [START_MS + (i + 1) * MINUTE_MS - 1 for i in range(4)]
    assert times == [ms for ms in closes for _ in SYMBOLS]


def test_files_that_cannot_be_combined_are_refused(tmp_path: Path) -> None:
    minutes = written(tmp_path, ROWS[0])
    hours = written(tmp_path, ROWS[0], "BTCUSDT-1h.csv")
    with pytest.raises(ConfigurationError, match="must have the same candle interval"):
        sources(minutes, hours)
    with pytest.raises(
        ConfigurationError, match="have 1h candles, but MARKETSTATE_CANDLE_INTERVAL is 1m"
    ):
        sources(hours)
    with pytest.raises(ConfigurationError, match="either candle files"):
        sources(minutes, written(tmp_path, "", "a.jsonl.gz"))
    with pytest.raises(ConfigurationError, match=f"^there is no file or folder {tmp_path}/no.csv$"):
        sources(minutes, tmp_path / "no.csv")
    with pytest.raises(
        FileUnusable, match=r"not a recording: .*; name it \.csv or \.csv\.gz or \.zip"
    ):
        list(sources(written(tmp_path, NAMES, "BTCUSDT-1m.tsv")).read(Findings()))


@pytest.mark.parametrize("name", ["BTCUSDT-1m.csv", "BTCUSDT-1m.csv.gz"])
def test_the_content_says_whether_a_file_is_packed(name: str, tmp_path: Path) -> None:
    """Browsers unpack files without changing their names."""
    text = "".join(ROWS)
    for content in (text.encode(), gzip.compress(text.encode())):
        path = tmp_path / name
        path.write_bytes(content)
        assert [found.candle for found in read_file(path)] == CANDLES


@pytest.mark.parametrize("close", ["1_0", "\u0663", "inf", "nan", "-1", "0"])
def test_a_close_that_python_alone_takes_for_a_number_is_refused(
    close: str, tmp_path: Path
) -> None:
    path = written(tmp_path, f"open_time,close\n{START_MS},1.5\n{START_MS + MINUTE_MS},{close}\n")
    with pytest.raises(FileUnusable, match=f"line 3: close is '?{close}'?"):
        read(path)
