"""`scripts/bench` in its smallest sizes: every bench runs and gives numbers. Nothing is timed."""

import math
import os
from pathlib import Path

import msgspec
import pytest

from tests.bench.__main__ import BENCHES, main
from tests.bench.report import table


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_gives_numbers(name: str) -> None:
    cores = os.sched_getaffinity(0)
    rows = BENCHES[name](True)
    assert rows
    for row in rows:
        numbers = [value for value in row.values() if not isinstance(value, str)]
        assert numbers
        assert all(math.isfinite(number) and number >= 0 for number in numbers), row
    assert os.sched_getaffinity(0) == cores


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new folder" / "bench.json"
    assert main(["breakdown", "--quick", "--json", str(path)]) == 0
    report = msgspec.json.decode(path.read_bytes())
    assert list(report["benches"]) == ["breakdown"]
    assert table(report["benches"]["breakdown"]["rows"]) in capsys.readouterr().out
    assert {"cpu", "python", "numpy", "scipy", "redis", "redis_server", "kernel"} <= set(
        report["machine"]
    )


def test_the_benches_are_listed_and_others_are_rejected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[:1].strip()] == list(BENCHES)
    with pytest.raises(SystemExit, match="2"):
        main(["latencies"])
    assert "there is no bench 'latencies'; there are calculation," in capsys.readouterr().err


def test_a_table_is_aligned_and_shows_a_dash_for_a_missing_value() -> None:
    expected = [
        "part       cpu us  x",
        "one         1,234  2",
        "the other   0.012  -",
    ]
    rows = table(
        [{"part": "one", "cpu_us": 1_234.4, "x": 2}, {"part": "the other", "cpu_us": 0.012}]
    )
    assert rows.splitlines() == expected
