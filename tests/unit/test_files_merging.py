"""Many files as one sequence, and rows that come newest first."""

import heapq
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from marketstate.worker.files.candles.file import read_file
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.merging import FEW, merged
from tests.support.candles import candle, made_candles
from tests.support.replaying import binance_row

Item = tuple[int, int, int]
"""Its key, its file, its place there."""


class Files:
    """Counts how many are open."""

    def __init__(self, keys: list[list[int]]) -> None:
        self.items = [
            [(key, file, i) for i, key in enumerate(some)] for file, some in enumerate(keys)
        ]
        self.open = self.most = 0

    def read(self, file: int) -> Iterator[Item]:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            yield from self.items[file]
        finally:
            self.open -= 1

    def merged(self) -> list[Item]:
        readers = [partial(self.read, file) for file in range(len(self.items))]
        return list(merged(readers, readers, key=lambda item: item[0]))


# Not always in order, as the entries of several partitions in a recording.
KEYS = st.lists(st.lists(st.integers(0, 30), max_size=5), max_size=2 * FEW)


@given(KEYS)
def test_many_files_are_merged_as_if_all_were_open(keys: list[list[int]]) -> None:
    files = Files(keys)
    assert files.merged() == list(heapq.merge(*files.items, key=lambda item: item[0]))
    assert files.open == 0


def test_of_files_that_follow_each_other_only_one_is_open() -> None:
    files = Files([[10 * i, 10 * i + 5] for i in range(5 * FEW)][::-1])
    assert [key for key, _, _ in files.merged()] == sorted(
        key for items in files.items for key, _, _ in items
    )
    assert files.most <= 2


def test_the_candles_of_a_symbol_in_a_file_for_each_day_are_one_sequence(tmp_path: Path) -> None:
    """What is found in them is told once, although each file is looked into."""
    candles = made_candles(("BTCUSDT",), 6 * FEW)
    for day in range(2 * FEW):
        some = candles[3 * day : 3 * day + 3]
        if day == 4:
            some = [*some, some[-1]]
        rows = "".join(map(binance_row, some))
        (tmp_path / f"BTCUSDT-1m-{2 * FEW - day:03}.csv").write_text(
            rows + "no candle\n" * (day == 7)
        )
    findings = Findings(skip_bad=True)
    found = [read.candle for read in CandleFiles([tmp_path]).read(findings)]
    assert [one.close_time for one in found] == [one.close_time for one in candles]
    assert (findings.skipped.count, findings.duplicates.count) == (1, 1)


def test_a_long_file_with_the_newest_candle_first_is_read_from_its_end(tmp_path: Path) -> None:
    candles = [candle("BTCUSDT", i, 100 + i % 7) for i in range(2_345)]
    path = tmp_path / "BTCUSDT-1m.csv"
    path.write_text("".join(binance_row(one) for one in reversed(candles)))
    read = list(read_file(path))
    assert [one.candle for one in read] == candles
    assert [read[0].where, read[-1].where] == [f"{path}, line 2345", f"{path}, line 1"]
