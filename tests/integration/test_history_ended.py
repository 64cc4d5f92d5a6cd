"""`marketstate history` is killed, stopped, refused and resumed; and what it says then."""

import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.histories import about_of, read_table, records_in
from tests.support.processes import MARKETSTATE, Program, environment
from tests.support.replaying import SYMBOLS, candle_folder, small
from tests.support.worker_process import wait_until

COUNT = 6_000


class History(Program):
    """`marketstate history` in two processes."""

    def __init__(self, folder: Path, out: Path, *options: object, **settings: object) -> None:
        given = small(folder) | settings
        command = (*MARKETSTATE, "history", folder / "candles", "--out", out, "--processes", 2)
        super().__init__(
            [*command, "--every-close", *options],
            env=environment(**given),
            stderr=subprocess.PIPE,
            text=True,
        )

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        of_python = (int(each) for each in path.read_text().split())
        return [each for each in of_python if b"spawn_main" in _command(each)]

    def wait_until_it_works(self) -> None:
        assert self.process.stderr is not None
        assert "3 candle files of 3 symbols" in self.process.stderr.readline()

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate()
        return self.process.returncode, said


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With candle files, and the whole history."""
    found = tmp_path_factory.mktemp("ended")
    candle_folder(found, COUNT)
    assert History(found, found / "whole.parquet").end()[0] == 0
    return found


def has_rows(out: Path) -> bool:
    parts = out.with_name(out.name + ".parts")
    return any(path.stat().st_size for path in parts.glob("*.rows"))


def test_a_history_that_was_killed_and_stopped_goes_on_to_the_same_file(folder: Path) -> None:
    """G2; its processes end with it, and nothing is there under its name before it is whole."""
    out = folder / "ended.parquet"
    first = History(folder, out)
    wait_until(lambda: has_rows(out), "there are rows")
    first.process.kill()
    code, _ = first.end()
    # On a busy machine, it may have been quicker than the signal.
    assert (code, out.exists()) in ((-signal.SIGKILL, False), (0, True))
    out.unlink(missing_ok=True)
    second = History(folder, out, *(["--resume"] if code else []))
    second.wait_until_it_works()
    second.process.send_signal(signal.SIGINT)
    code, said = second.end()
    assert (code, "--resume continues from here" in said) in ((130, True), (0, False)), said
    if code:
        assert not out.exists()
        code, said = History(folder, out, "--resume").end()
    assert (code, out.read_bytes()) == (0, (folder / "whole.parquet").read_bytes()), said
    assert not out.with_name(out.name + ".parts").exists()


def test_a_process_that_is_killed_or_has_no_room_ends_the_others_and_all_goes_on_later(
    folder: Path,
) -> None:
    out = folder / "room.parquet"
    resource.prlimit(os.getpid(), resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        full = History(folder, out)
    finally:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(os.getpid(), resource.RLIMIT_FSIZE, unlimited)
    code, said = full.end()
    assert (code, "File too large; --resume continues" in said) == (1, True), said
    killed = History(folder, out, "--resume")
    killed.wait_until_it_works()
    wait_until(lambda: len(killed.children()) == 2, "its processes work")
    os.kill(killed.children()[0], signal.SIGKILL)
    code, said = killed.end()
    assert (code, "a process ended with exit code -9" in said) == (1, True), said
    code, said = History(folder, out, "--resume").end()
    assert (code, out.read_bytes()) == (0, (folder / "whole.parquet").read_bytes()), said


def test_two_histories_do_not_work_on_the_same_parts(folder: Path) -> None:
    out = folder / "two.parquet"
    with History(folder, out) as first:
        first.wait_until_it_works()
        first.process.send_signal(signal.SIGSTOP)
        code, said = History(folder, out, "--resume").end()
        assert (code, "another process is working on" in said) == (2, True), said
        first.process.send_signal(signal.SIGCONT)
        code, said = first.end()
    assert (code, out.read_bytes()) == (0, (folder / "whole.parquet").read_bytes()), said


def test_parts_are_neither_overwritten_nor_continued_as_another_history(folder: Path) -> None:
    out = folder / "another.parquet"
    first = History(folder, out)
    first.wait_until_it_works()
    first.process.kill()
    first.end()
    refused: dict[tuple[str, ...], str] = {
        (): "has the parts of a history that was interrupted; continue it with --resume",
        ("--resume", "--symbols", "AAAUSDT"): "this one differs in its symbols",
        ("--resume", "--from", "2025-05-05"): "this one differs in --from and --to",
    }
    for options, says in refused.items():
        code, said = History(folder, out, *options).end()
        assert (code, says in said) == (2, True), said
    code, said = History(folder, out, "--resume", window_size=13).end()
    assert (code, "this one differs in its settings" in said) == (2, True), said
    assert History(folder, out, "--resume").end()[0] == 0
    code, said = History(folder, out).end()
    assert (code, "already exists" in said) == (2, True), said
    code, said = History(folder, folder / "none.parquet", "--resume").end()
    assert (code, "there is nothing to resume" in said) == (2, True), said


def test_a_file_says_what_its_columns_are_and_how_they_were_calculated(folder: Path) -> None:
    table = read_table(folder / "whole.parquet")
    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        **dict.fromkeys(
            ("theta", "interval", "symbol"),
            "dictionary<values=string, indices=int32, ordered=0>",
        ),
        "close_time": "timestamp[ms, tz=UTC]",
        **dict.fromkeys(("close", "sigma", "mu", "ts", "p_trend", "p_mr", "p_chop"), "double"),
        **dict.fromkeys(("dp", "vr", "spike_proxy"), "double"),
        **dict.fromkeys(
            ("regime", "reason"), "dictionary<values=string, indices=int32, ordered=0>"
        ),
        **dict.fromkeys(("buffer_size", "missing"), "int64"),
        **dict.fromkeys(
            ("source", "theta_hash"), "dictionary<values=string, indices=int32, ordered=0>"
        ),
    }
    units = {
        name: (table.schema.field(name).metadata or {}).get(b"unit", b"").decode()
        for name in ("sigma", "ts", "close_time", "symbol")
    }
    assert units == {
        "sigma": "log price per candle",
        "ts": "1",
        "close_time": "ms since 1970, UTC",
        "symbol": "",
    }
    (theta,) = about_of(table).thetas
    assert (theta.name, theta.hash) == ("theta", table["theta_hash"][0].as_py())
    assert theta.parameters["trend"]["windows"] == [4, 8]
    symbols: Any = table["symbol"].to_pylist()
    times: Any = table["close_time"].to_pylist()
    assert list(zip(symbols, times, strict=True)) == sorted(zip(symbols, times, strict=True))


def test_csv_has_all_bits_of_every_number(folder: Path) -> None:
    out = folder / "a.csv.gz"
    assert History(folder, out, "--symbols", "BBBUSDT").end()[0] == 0
    assert records_in(out) == {
        symbol: records
        for symbol, records in records_in(folder / "whole.parquet").items()
        if symbol == b"BBBUSDT"
    }
    assert SYMBOLS[1] == "BBBUSDT"
