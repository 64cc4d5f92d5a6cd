"""`scripts/bench` in its smallest sizes: every bench runs and gives numbers. Nothing is timed."""

import asyncio
import math
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from marketstate.core.state import DEFAULT_THETA, NAMES, MarketState
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.bench.__main__ import BENCHES, main
from tests.bench.group_loop import GroupLoop
from tests.bench.market import Market
from tests.bench.polling_publisher import fill_caches, publish_all
from tests.bench.report import table
from tests.bench.state_by_scipy import state_by_scipy
from tests.support.candles import NEEDED
from tests.support.worker_process import feed_fields, published


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


def test_a_run_is_shown_beside_an_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, compared = tmp_path / "before.json", tmp_path / "after.json"
    before = {
        "quick": False,
        "machine": {"cpu": "another"},
        "benches": {
            "memory": {
                "rows": [{"symbols": 30, "resident_mb": 1.0}, {"symbols": 5, "peak_mb": 2.0}]
            }
        },
    }
    path.write_bytes(msgspec.json.encode(before))
    assert main(["memory", "--quick", "--json", str(compared), "--compare", str(path)]) == 0
    (row,) = msgspec.json.decode(compared.read_bytes())["benches"]["memory"]["rows"]
    shown = capsys.readouterr().out.splitlines()
    assert f"In brackets: as many times as in {path}" in shown
    assert "quick: here True, there False" in shown
    (line,) = (line.split() for line in shown if line.split()[:1] == ["30"])
    assert line[2::2] == [f"({row['resident_mb']:.2f})", "(-)"]
    assert "only there: symbols 5" in shown


@pytest.mark.parametrize("content", [None, "# Read me", '{"benches": 1}'])
def test_what_is_no_report_is_refused(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "README.md"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match="2"):
        main(["--compare", str(path)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"scripts/bench: error: --compare: {path}: ")
    assert last.endswith("; give a file that scripts/bench wrote")


def test_the_peers_of_a_worker_publish_the_same_states() -> None:
    market = Market(2)
    first, last = market.entries(2 * (NEEDED - 1)), market.entries(2)
    closes = [msgspec.json.decode(fields["payload"])["close"] for fields in first + last]
    windows = np.array(closes).reshape(NEEDED, 2).T
    rows = MarketState().rows(windows)
    assert rows is not None
    for window, row in zip(windows, rows.tolist(), strict=True):
        expected = dict(zip(NAMES, row, strict=True))
        assert state_by_scipy(window, DEFAULT_THETA) == pytest.approx(expected, rel=1e-9)

    shown = []
    with EmbeddedRedis() as server, server.client() as client:
        loop = GroupLoop(server.port)
        feed_fields(client, first + last)
        loop.work()
        loop.close()
        shown.append(published(client))
        client.flushall()
        fill_caches(client, first + last)
        asyncio.run(publish_all(server.port, market.symbols))
        shown.append(published(client))
    for each in shown:
        assert [float(each[symbol][0][b"sigma"]) for symbol in market.symbols] == [
            round(sigma, 8) for sigma in rows[:, 0].tolist()
        ]
        assert [len(each[symbol]) for symbol in market.symbols] == [1, 1]
