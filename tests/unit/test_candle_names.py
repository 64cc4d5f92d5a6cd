"""What the names of candle files say, and what may be said instead."""

import zipfile
from pathlib import Path

import pytest

from marketstate.schemas.symbol import plain
from marketstate.worker.cli import main
from marketstate.worker.errors import ConfigurationError, FileUnusable
from marketstate.worker.files import opening
from marketstate.worker.files.candles.file import read_file
from marketstate.worker.files.candles.names import find_files, identity, parsed
from marketstate.worker.files.candles.said import NOTHING, Said
from marketstate.worker.files.candles.series import CandleFiles
from tests.support.spellings import CANDLES, table, zipped


@pytest.mark.parametrize(
    ("name", "symbol", "interval"),
    [
        ("BTCUSDT-1m.csv", "BTCUSDT", "1m"),
        ("BTCUSDT-1m-2025-05.csv", "BTCUSDT", "1m"),
        ("BTCUSDT-1m-2025-05-04.csv.gz", "BTCUSDT", "1m"),
        ("BTC-USD-1h.csv", "BTC-USD", "1h"),
        ("BTCUSDT_1h.csv", "BTCUSDT", "1h"),
        ("Binance_BTCUSDT_1H.CSV", "Binance_BTCUSDT", "1h"),
        ("BTCUSDT-1M.zip", "BTCUSDT", "1M"),
        ("BTCUSDT-1mo.csv", "BTCUSDT", "1M"),
        ("1INCHUSDT-15min.csv", "1INCHUSDT", "15m"),
        ("1000SHIB-USDT-1d.csv", "1000SHIB-USDT", "1d"),
        ("BTCUSDT 1h.csv", "BTCUSDT", "1h"),
        ("BTCUSDT-60.csv", None, None),
        ("BTCUSDT-1h-4h.csv", None, None),
        ("1h.csv", None, None),
        ("prices.csv", None, None),
    ],
)
def test_a_name_gives_symbol_and_interval(
    name: str, symbol: str | None, interval: str | None
) -> None:
    assert parsed(name) == (symbol, interval)


@pytest.mark.parametrize("other", ["BTC/USDT", "btc-usdt", "BTC_USDT", "BTC:USDT", "btcusdt"])
def test_spellings_of_one_symbol_are_the_same(other: str) -> None:
    assert plain("BTCUSDT") == plain(other)
    assert plain("BTCUSD") != plain(other)


def test_what_is_said_goes_before_the_name_and_what_is_missing_is_asked_for() -> None:
    path = Path("BTCUSDT-1h.csv")
    assert identity(path, Said("ETHUSDT", "4h")) == ("ETHUSDT", "4h")
    assert identity(Path("a.csv"), Said("ETHUSDT", "4h")) == ("ETHUSDT", "4h")
    with pytest.raises(FileUnusable, match=r"or say them with --interval$"):
        identity(Path("a.csv"), Said(symbol="ETHUSDT"))
    with pytest.raises(FileUnusable, match=r"with --symbol and --interval$"):
        identity(Path("BTCUSDT-1h-4h.csv"), NOTHING)


def test_one_symbol_cannot_be_said_of_files_that_name_two(tmp_path: Path) -> None:
    for name in ("BTCUSDT-1h.csv", "ETHUSDT-1h.csv"):
        (tmp_path / name).write_text(table("ms,close", "open_time,close"))
    with pytest.raises(ConfigurationError, match="--symbol says BTCUSDT, but these files name"):
        CandleFiles([tmp_path], Said(symbol="BTCUSDT"))


def test_a_folder_gives_every_file_of_candles(tmp_path: Path) -> None:
    for name in ("b-1h.CSV", "a-1h.csv.gz", "c-1h.zip", "notes.txt", "d.jsonl"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(tmp_path)] == ["a-1h.csv.gz", "b-1h.CSV", "c-1h.zip"]


def test_state_takes_a_folder_of_one_symbol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "BTCUSDT-1h-a.csv").write_text(table("ms,close", "open_time,close"))
    assert main(["state", str(tmp_path)]) == 0
    assert "BTCUSDT: 300 prices" in capsys.readouterr().out
    (tmp_path / "ETHUSDT-1h.csv").write_text(table("ms,close", "open_time,close"))
    assert main(["state", str(tmp_path)]) == 2
    assert "has candles of BTCUSDT, ETHUSDT; name a file of one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--interval", "60", "'60' must be an interval such as 1m"),
        ("--symbol", "BTC USDT", "is not 1 to 64 printable characters"),
        ("--columns", "time,price", "'price' must be one of open_time, close_time, time, open"),
        ("--time", "middle", "invalid choice"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused(
    option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["state", "a.csv", option, value])
    assert says in capsys.readouterr().err


def damaged(name: str, text: str) -> bytes:
    content = bytearray(zipped(name, text))
    content[len(name) + 40] ^= 0xFF
    return bytes(content)


def encrypted(name: str, text: str) -> bytes:
    content = bytearray(zipped(name, text))
    central = content.rindex(b"PK\x01\x02")
    content[6] |= 1
    content[central + 8] |= 1
    return bytes(content)


def test_a_zip_that_cannot_be_read_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "BTCUSDT-1h.zip"
    text = table("ms,close", "open_time,close")
    cases = {
        "File is not a zip file": b"PK",
        "is encrypted; unpack it first": encrypted("BTCUSDT-1h.csv", text),
        "not a candle file": damaged("BTCUSDT-1h.csv", text),
    }
    for says, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(FileUnusable, match=says):
            list(read_file(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-1h.csv", text)
        archive.writestr("__MACOSX/._BTCUSDT-1h.csv", "x")
    assert len(list(read_file(path))) == len(CANDLES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ETHUSDT-1h.csv", text)
    with pytest.raises(FileUnusable, match=f"{path} holds 2 files; expected a zip with one"):
        list(read_file(path))
    monkeypatch.setattr(opening, "MAX_UNZIPPED_BYTES", 1_000)
    path.write_bytes(zipped("BTCUSDT-1h.csv", text))
    with pytest.raises(FileUnusable, match=r"holds .* bytes; at most 1,000 are read from a zip"):
        list(read_file(path))
