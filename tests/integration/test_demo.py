"""The demo, as a newcomer runs it; and candle files."""

import gzip
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.file import read_file
from marketstate.worker.files.candles.names import find_files
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.local.redis_server import EmbeddedRedis, packaged_server
from marketstate.worker.store.known_holes import known_holes
from marketstate.worker.store.server_version import server_version
from tests.support.candles import candle, made_candles
from tests.support.demo import ROW, symbols_in
from tests.support.processes import MARKETSTATE, PATIENCE_S, piped


def demo(folder: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    command = [*MARKETSTATE, "demo", *arguments]
    return piped(command, stderr=subprocess.STDOUT, TMPDIR=str(folder), **variables)


def write_csv(folder: Path, symbol: str, count: int) -> Path:
    path = folder / f"{symbol}-1m.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("open_time_ms,open,high,low,close,volume,close_time_ms\n")
        for one in made_candles((symbol,), count):
            file.write(
                f"{one.open_time},{one.open},{one.high},{one.low},{one.close},"
                f"{one.volume},{one.close_time}\n"
            )
    return path


@pytest.mark.usefixtures("any_server_binary")
def test_the_demo_shows_states_of_synthetic_candles_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    output, _ = demo(tmp_path, "--seconds", "4").communicate(timeout=PATIENCE_S)
    found = symbols_in(output)
    assert set(found) == {"BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT"}, output
    assert len(set(found)) < len(found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("any_server_binary")
def test_the_demo_plays_candle_files_to_their_end(tmp_path: Path) -> None:
    data, temporary = tmp_path / "data", tmp_path / "tmp"
    data.mkdir()
    temporary.mkdir()
    for symbol in ("AAAUSDT", "BBBUSDT"):
        with gzip.open(write_csv(data, symbol, 260), "at") as file:
            file.write("not a candle\n")
    output, _ = demo(temporary, "--data", str(data), "--skip-bad").communicate(timeout=PATIENCE_S)
    last = {match[2]: match[1] for match in re.finditer(r"^(.{19})  (\w+USDT) ", output, re.M)}
    closed = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(candle("", 259, 1).close_time // 1_000))
    assert last == {"AAAUSDT": closed, "BBBUSDT": closed}, output
    assert "All candles in the files have been processed." in output
    assert "lines or entries left out: 2" in output
    assert "\nThe demo is over." in output
    assert list(temporary.iterdir()) == []


def test_without_an_installed_server_the_demo_has_one_that_is_kept_up_to_date(
    tmp_path: Path,
) -> None:
    """The server that pip brings knows `lag`, and has no hole that we know of."""
    output, _ = demo(tmp_path, "--seconds", "4", PATH="").communicate(timeout=PATIENCE_S)
    assert "BTCUSDT" in symbols_in(output), output
    with EmbeddedRedis(packaged_server()) as server, server.client() as client:
        client.xgroup_create("stream", "group", mkstream=True)
        (group,) = client.xinfo_groups("stream")
        assert group["lag"] == 0
        assert known_holes(server_version(client.info("server"))) == ""


@pytest.mark.usefixtures("any_server_binary")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_without_a_trace(number: signal.Signals, tmp_path: Path) -> None:
    process = demo(tmp_path)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if ROW.match(line):
            break
    process.send_signal(number)
    rest, _ = process.communicate(timeout=PATIENCE_S)
    port = re.search(r"redis-cli -p (\d+)", "".join(lines))
    assert port is not None
    assert (process.returncode, "The demo is over" in rest) == (0, True), rest
    assert list(tmp_path.iterdir()) == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f":{port[1]}" not in running.stdout


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    cases = {
        "BTCUSDT-1m.csv": ("a,b\n1,2\n", "'a,b' is neither a candle nor a line of names"),
        "ETHUSDT-1m.csv": (
            "close,close_time\n1,1746373259999\nx,1746373319999\n",
            "line 3: close is 'x'; expected a number",
        ),
        "candles.csv": ("close,close_time\n", "the name must give symbol and interval"),
        "XRPUSDT-1m.csv.gz": ("plain text", "'plain text' is neither a candle"),
        "SOLUSDT-1m.csv": ("", "SOLUSDT-1m.csv is empty"),
        "BNBUSDT-1m.csv": ("close,close_time\n", "has no candles"),
        "LTCUSDT-1m.csv": ("close,close_time\n1\n", "line 2: found 1 columns, expected 2"),
    }
    for name, (content, says) in cases.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(ConfigurationError) as error:
            list(read_file(path))
        assert str(path) in str(error.value)
        assert says in str(error.value)
    with pytest.raises(ConfigurationError, match=r"cannot read .*: No such file"):
        list(read_file(tmp_path / "NOUSDT-1m.csv"))
    with pytest.raises(ConfigurationError, match="is not a folder"):
        find_files(tmp_path / "nowhere")
    output, _ = demo(tmp_path, "--file", str(tmp_path / "NOUSDT-1m.csv")).communicate(
        timeout=PATIENCE_S
    )
    assert "Traceback" not in output
    assert "there is no file or folder" in output


def test_candles_of_several_files_are_merged_by_time(tmp_path: Path) -> None:
    paths = [write_csv(tmp_path, symbol, 5) for symbol in ("AAAUSDT", "BBBUSDT")]
    assert [read.candle for read in read_file(paths[0])] == made_candles(("AAAUSDT",), 5)
    files = CandleFiles([tmp_path])
    times = [read.candle.close_time for read in files.read(Findings())]
    assert times == sorted(times)
    assert (files.interval, files.symbols) == ("1m", ["AAAUSDT", "BBBUSDT"])
    (tmp_path / "CCCUSDT-5m.csv").touch()
    with pytest.raises(ConfigurationError, match="must have the same candle interval"):
        CandleFiles([*paths, tmp_path / "CCCUSDT-5m.csv"])
