"""The parts of a history: a unit may end anywhere and goes on, and how rows are sorted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marketstate.worker.commands.history import unit
from marketstate.worker.commands.history.folder import Folder, Plan, folder_of, plan_of
from marketstate.worker.commands.history.grouping import grouped
from marketstate.worker.commands.history.job import Job, Run
from marketstate.worker.commands.history.parts import Group, Part
from marketstate.worker.commands.history.rows import ROW
from marketstate.worker.commands.history.told import Told
from marketstate.worker.commands.history.unit import work
from marketstate.worker.errors import ConfigurationError, FileUnreadable, FileUnusable, WorkerError
from marketstate.worker.files.candles.said import NOTHING
from tests.support.feeding import small_settings
from tests.support.histories import messy_entries, write_recording

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
ENTRIES = messy_entries(SYMBOLS, 70)


class Killed(Exception):
    """As if by SIGKILL: nothing is written after it."""


@pytest.fixture
def batches_of_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each."""
    monkeypatch.setattr(unit, "BATCH", 7)
    monkeypatch.setattr(unit, "CHECKPOINT_S", 0.0)


def a_job(folder: Path, name: str) -> Job:
    """With two runs; all in one unit."""
    path = folder / "a.jsonl.gz"
    if not path.exists():
        write_recording(path, ENTRIES)
    parts = folder / name
    parts.mkdir()
    settings = small_settings(
        publish_interval=360, emit_on_regime_change=True, shards=1, intervals="1m,3m"
    )
    every = small_settings(publish_interval=1, shards=1, intervals="1m,3m")
    return Job(
        paths=(path,),
        said=NOTHING,
        skip_bad=False,
        allow_gaps=False,
        runs=(Run("some", settings), Run("every", every)),
        intervals=("1m", "3m"),
        from_ms=0,
        to_ms=2**60,
        symbols=(),
        shares=1,
        folder=parts,
    )


def what_is_there(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in job.folder.iterdir()}


def after(batches: int, do: Callable[[], bool]) -> Callable[[int], bool]:
    seen = iter(range(batches))
    return lambda _: True if next(seen, None) is not None else do()


def kill() -> bool:
    raise Killed


@pytest.mark.usefixtures("batches_of_seven")
@pytest.mark.parametrize("end", [kill, lambda: False], ids=["killed", "stopped"])
def test_a_unit_that_ends_after_any_batch_goes_on_to_the_same_rows_and_counts(
    end: Callable[[], bool], tmp_path: Path
) -> None:
    """G2: also when it ends again and again."""
    whole = a_job(tmp_path, "whole")
    assert work(whole, whole.units[0], lambda _: True)
    checkpoint = Part(whole.folder, 0, 2).checkpoint
    assert checkpoint.rows[0] > 20
    assert checkpoint.counters[0]["emitted.3m"] > 3
    for batches in range(0, len(ENTRIES) // 7, 6):
        job = a_job(tmp_path, f"after {batches}")
        done = False
        times = 0
        while not done:
            try:
                # Each time it gets further: what is there is read again in whole batches.
                done = work(job, job.units[0], after(batches + times * 5, end))
            except Killed:
                done = False
            times += 1
        assert times > 1 or batches > len(ENTRIES) // 7 - 7
        assert what_is_there(job) == what_is_there(whole)


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (FileUnusable("a.csv, line 3: it is bad"), False),
        (FileUnreadable("cannot read a.csv: Input/output error"), True),
        (WorkerError("cannot write"), True),
    ],
)
def test_parts_stay_for_what_may_go_better_next_time(
    error: WorkerError, stays: bool, tmp_path: Path
) -> None:
    with (
        pytest.raises(type(error)),
        Folder(tmp_path / "a.parquet", Plan(1, {}), resume=False) as folder,
    ):
        raise error
    assert folder.path.exists() == stays


def test_a_plan_tells_all_that_makes_another_history(tmp_path: Path) -> None:
    job = a_job(tmp_path, "job")
    some, every = job.runs
    plan = plan_of(job)
    others = {
        "what is said of candle files": job._replace(allow_gaps=True),
        "--from and --to": job._replace(to_ms=1),
        "its intervals": job._replace(intervals=("3m",)),
        "its symbols": job._replace(symbols=("AAAUSDT",)),
        "its thetas": job._replace(runs=(some._replace(theta="other"), every)),
        "its settings": job._replace(runs=(every._replace(theta="some"), every)),
    }
    found = {name: plan_of(other) for name, other in others.items()}
    job.paths[0].write_bytes(b"")
    found["its files"] = plan_of(job)
    for name, other in found.items():
        assert {each for each in plan.what if plan.what[each] != other.what[each]} == {name}


def test_what_every_unit_tells_is_told_once() -> None:
    told = Told()
    for _ in range(3):
        told.add({"ignored": ["candles of 5m"], "gap.3m": ["AAAUSDT"]})
    assert [line for line in told.report({}) if line.startswith("  ")] == [
        "  candles of 5m",
        "  AAAUSDT",
    ]


@pytest.mark.usefixtures("batches_of_seven")
@pytest.mark.parametrize("name", ["0.json", "0-1.rows"])
def test_parts_that_are_damaged_are_not_continued(name: str, tmp_path: Path) -> None:
    job = a_job(tmp_path, "job")
    assert not work(job, job.units[0], after(10, lambda: False))
    path = job.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileUnusable, match=f"^{path} .*; start over$"):
        work(job, job.units[0], lambda _: True)


@pytest.mark.parametrize(
    "text",
    [b'{"rows":[1],"symbols":["\xff"]}', b'{"rows":[-1]}', b"{}"],
)
def test_a_checkpoint_that_no_history_has_written_is_named(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "0.json"
    path.write_bytes(text)
    with pytest.raises(FileUnusable, match=f"^{path} cannot be read: .*; start over$"):
        Part(tmp_path, 0, 1)


@pytest.mark.parametrize(
    "text", [b'{"shares":1,"what":{"a":"\xff"}}', b'{"what":{"a":' + b"[" * 10**5]
)
def test_a_plan_that_no_history_has_written_is_named(text: bytes, tmp_path: Path) -> None:
    out = tmp_path / "states.csv.gz"
    folder_of(out).mkdir()
    (folder_of(out) / "plan.json").write_bytes(text)
    with pytest.raises(
        ConfigurationError, match=r"plan\.json cannot be read, so nothing can be res"
    ):
        Folder(out, Plan(1, {}), resume=True)


@pytest.mark.usefixtures("batches_of_seven")
def test_rows_that_came_after_the_last_checkpoint_are_cut_off(tmp_path: Path) -> None:
    whole, job = a_job(tmp_path, "whole"), a_job(tmp_path, "job")
    assert work(whole, whole.units[0], lambda _: True)
    assert not work(job, job.units[0], after(10, lambda: False))
    for path in Part(job.folder, 0, 2).paths:
        with path.open("ab") as file:
            file.write(b"half a ro")
    assert work(job, job.units[0], lambda _: True)
    assert what_is_there(job) == what_is_there(whole)


def test_rows_are_sorted_on_disk_by_interval_and_symbol_and_stay_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketstate.worker.commands.history.grouping.ROWS_AT_ONCE", 64)
    rng = np.random.RandomState(7)
    rows = np.zeros(1_000, ROW)
    rows["symbol"], rows["interval"] = rng.randint(0, 9, 1_000), rng.randint(0, 3, 1_000)
    rows["close_time"] = np.arange(1_000)
    path = tmp_path / "0-0.rows"
    rows.tofile(path)
    groups = grouped(path, 10)
    order = np.lexsort((rows["close_time"], rows["symbol"], rows["interval"]))
    assert path.read_bytes() == rows[order].tobytes()
    assert [(one.interval, one.symbol) for one in groups] == sorted(
        {(int(row["interval"]), int(row["symbol"])) for row in rows}
    )
    assert sum(one.rows for one in groups) == 1_000
    again: list[Any] = grouped(path, 10)
    assert again == groups
    assert groups[0] == Group(0, 0, int(((rows["interval"] == 0) & (rows["symbol"] == 0)).sum()))
