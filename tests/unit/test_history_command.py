"""The command line of `marketstate history`: what is refused, and what is said."""

import errno
import gzip
from pathlib import Path
from typing import Any

import pytest

from marketstate.schemas.partitions import partition_of
from marketstate.schemas.recording import RecordedEntry, encode_entry, encode_header
from marketstate.worker.cli import main
from marketstate.worker.commands.history import command as history_command
from tests.support.candles import MINUTE_MS, as_envelope, made_candles
from tests.support.histories import messy_entries, read_table, strings_of, write_recording
from tests.support.replaying import SYMBOLS, candle_folder, small, write_csv

COUNT = 30


@pytest.fixture(autouse=True)
def short_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in small(tmp_path).items():
        monkeypatch.setenv(f"MARKETSTATE_{name.upper()}", str(value))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return candle_folder(tmp_path, COUNT)


def history(capsys: pytest.CaptureFixture[str], *command: object) -> tuple[int, str]:
    try:
        code = main(["history", *map(str, command), "--processes", "1"])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().err


def test_what_cannot_be_done_is_refused_before_anything_is_calculated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.parquet"
    again = tmp_path / "again"
    again.mkdir()
    for theta in (tmp_path / "t.json", again / "t.json"):
        theta.write_text("{}")
    recording = write_recording(tmp_path / "a.jsonl.gz", messy_entries(SYMBOLS, COUNT))
    thetas = ("--theta", tmp_path / "t.json", "--theta", again / "t.json")
    refused: dict[tuple[object, ...], str] = {
        (folder, "--out", tmp_path / "a.csv"): "must end in .parquet, .arrow, .csv.gz, .jsonl.gz",
        (folder, "--out", out, "--from", "2025-05-05", "--to", "2025-05-04"): "--from must be",
        (folder, "--out", out, "--from", "yesterday"): "'yesterday' is not a time",
        (folder, "--out", out, "--interval", "1m,90s"): "90s is not a multiple of 1m",
        (folder, "--out", out, "--interval", "60s,5m"): "60s: the candles are of 1m, and 60s is",
        (folder, "--out", out, "--interval", "5m,1M"): "1M is not a multiple of 1m",
        (folder, "--out", out, "--interval", "5m,"): "'' must be an interval such as 1m",
        (folder, "--out", out, "--interval", "3w"): "at least two candle intervals of 3w, or never",
        (folder, "--out", out, "--symbols", "XUSDT"): "and none of XUSDT",
        (folder, recording, "--out", out): "give either candle files",
        (recording, "--out", out, "--symbol", "A"): "are for candle files",
        (folder, "--out", out, *thetas, ): "MARKETSTATE_WINDOW_SIZE is 12",
        (tmp_path / "none", "--out", out): "there is no file or folder",
        (folder, "--out", tmp_path / "none" / "a.parquet"): "cannot write",
    }  # fmt: skip
    for command, says in refused.items():
        code, said = history(capsys, *command)
        assert (code, says in said) == (2, True), said
    assert [each for each in tmp_path.iterdir() if "a.parquet" in each.name] == []


def test_two_thetas_need_two_names(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MARKETSTATE_WINDOW_SIZE", "300")
    theta = tmp_path / "t.json"
    theta.write_text("{}")
    options = ("--out", tmp_path / "a.parquet", "--theta", theta, "--theta", theta)
    code, said = history(capsys, folder, *options)
    assert (code, "two files of --theta have the name t" in said) == (2, True), said


def test_without_pyarrow_lines_can_be_written(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("marketstate.worker.commands.history.writing.find_spec", lambda _: None)
    code, said = history(capsys, folder, "--out", tmp_path / "a.parquet")
    assert (
        code,
        "needs pyarrow, which is not installed: it is in the extra `history`" in said,
    ) == (
        2,
        True,
    )
    assert "deploy.sh" not in said
    assert history(capsys, folder, "--out", tmp_path / "a.jsonl.gz")[0] == 0


def test_it_says_which_files_it_reads_and_what_it_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / f"{SYMBOLS[0]}-1m-2025-05.csv"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*rows[:10], "bad\n", *rows[11:20], rows[19], *rows[20:]]))
    code, said = history(capsys, folder, "--out", tmp_path / "a.parquet")
    assert (code, f"{path}, line 11: found 1 columns" in said) == (2, True), said
    # Nothing is left that would be in the way of the next try.
    assert not (tmp_path / "a.parquet.parts").exists()
    code, said = history(capsys, folder, "--out", tmp_path / "a.parquet", "--skip-bad")
    assert code == 0, said
    assert "3 candle files of 3 symbols; the candles of a symbol are taken by time:\n" in said
    assert [line for line in said.splitlines() if line.startswith(f"  {folder}")][:3] == [
        f"  {folder / f'{symbol}-1m-2025-05.csv'}" for symbol in SYMBOLS
    ]
    assert "lines or entries left out: 1\n" in said
    assert "candles missing: 1; gaps: 1\n" in said
    assert "candles that came twice: 1\n" in said
    assert f"theta theta: applied {3 * COUNT - 1}, emitted {3 * (COUNT - 8) - 1}, gap 1\n" in said


def test_files_of_one_symbol_that_overlap_are_one_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    candles = made_candles(("AAAUSDT",), COUNT)
    whole = write_csv(tmp_path, "AAAUSDT", candles)
    parts = tmp_path / "parts"
    parts.mkdir()
    text = whole.read_text().splitlines(keepends=True)
    (parts / "AAAUSDT-1m-1.csv").write_text("".join(text[10:]))
    (parts / "AAAUSDT-1m-2.csv.gz").write_bytes(gzip.compress("".join(text[:20]).encode()))
    for name, source in {"one": whole, "two": parts}.items():
        assert history(capsys, source, "--out", tmp_path / f"{name}.parquet")[0] == 0
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_without_any_state_the_file_has_its_columns_and_no_rows(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early_ms = made_candles(("AAAUSDT",), 1)[0].close_time + 2 * MINUTE_MS
    for kind in (".parquet", ".arrow", ".jsonl.gz", ".csv.gz"):
        out = tmp_path / f"a{kind}"
        code, said = history(capsys, folder, "--out", out, "--to", early_ms)
        assert (code, "0 states of 0 symbols" in said) == (0, True), said
        assert f"no states of {', '.join(SYMBOLS)}: each needs 9 closes before --to" in said
        if kind in (".parquet", ".arrow"):
            table: Any = read_table(out)
            assert (table.num_rows, table.num_columns) == (0, 20)
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == b""


def test_symbols_and_intervals_that_come_to_nothing_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = f"{SYMBOLS[0]},{SYMBOLS[0].lower()}"
    code, said = history(capsys, folder, "--out", tmp_path / "a.parquet", "--symbols", names)
    assert (code, f"no states of {SYMBOLS[0].lower()}: " in said) == (0, True), said
    assert " of 1 symbol in " in said
    recording = write_recording(tmp_path / "a.jsonl.gz", messy_entries(SYMBOLS, COUNT))
    code, said = history(capsys, recording, "--out", tmp_path / "b.parquet")
    assert code == 0, said
    what = "candles of 5m are ignored: this group has MARKETSTATE_CANDLE_INTERVAL=1m"
    assert f"  {what}\n" in said
    assert said.count(what) == 1


def test_what_becomes_of_longer_intervals_is_said_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100 minutes, 15m has too few closes; a longer one counts missing candles of its own."""
    monkeypatch.setenv("MARKETSTATE_MAX_GAP", "4")
    candles = [one for i, one in enumerate(made_candles(("AAAUSDT",), 100)) if not 50 <= i < 69]
    path = write_csv(tmp_path, "AAAUSDT", candles)
    options = ("--out", tmp_path / "a.parquet", "--allow-gaps", "--interval", "15m,3m")
    code, said = history(capsys, path, *options)
    assert code == 0, said
    assert "no states of 15m of AAAUSDT: each needs 9 closes of 15m before --to" in said
    assert "no states of 3m" not in said
    assert "windows that started over after a gap (3m): 1\n  AAAUSDT: 6 candles of 3m" in said
    table: Any = read_table(tmp_path / "a.parquet")
    assert set(table["interval"].to_pylist()) == {"3m"}


def test_more_symbols_than_a_group_would_have_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETSTATE_MAX_SYMBOLS", "2")
    recording = write_recording(tmp_path / "a.jsonl.gz", messy_entries(SYMBOLS, COUNT))
    code, said = history(capsys, recording, "--out", tmp_path / "a.parquet")
    assert (code, "more than 2 symbols" in said) == (2, True), said


def test_an_entry_of_another_partition_is_a_dead_letter_as_in_its_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    candles = made_candles(("BTCUSDT",), COUNT)
    right = partition_of("BTCUSDT", 2)
    lines = [encode_header("quantum:stream:market.klines", 2)]
    for i, one in enumerate(candles):
        partition = right if i < COUNT - 3 else 1 - right
        fields = strings_of(as_envelope(one))
        lines.append(encode_entry(RecordedEntry(f"{one.close_time}-0", fields, partition)))
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(lines))
    for partitions, dead in {"2": ", dead 3, ", "3": ", ", "": ", "}.items():
        monkeypatch.setenv("MARKETSTATE_PARTITIONS", partitions)
        out = tmp_path / f"{partitions or 0}.parquet"
        code, said = history(capsys, path, "--out", out)
        applied = COUNT - 3 * (dead != ", ")
        assert code == 0
        assert f"theta theta: applied {applied}{dead}emitted {applied - 8}\n" in said
        assert ("belongs to partition" in said) == (dead != ", ")


def test_a_recording_goes_on_in_another_number_of_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into as many shares as it was divided at first."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recording = write_recording(tmp_path / "a.jsonl.gz", messy_entries(SYMBOLS, COUNT))
    assert history(capsys, recording, "--out", tmp_path / "whole.parquet")[0] == 0
    out = tmp_path / "a.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(history_command, "writer_for", lambda _: full)
        given = ("history", recording, "--out", out, "--processes", 3)
        assert main([*map(str, given)]) == 1
    assert "--resume continues from here" in capsys.readouterr().err
    assert history(capsys, recording, "--out", out, "--resume")[0] == 0
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
