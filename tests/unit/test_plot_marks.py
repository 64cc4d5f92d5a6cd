"""What a plot marks: changes of the regime, and gaps."""

import numpy as np
import pytest

from marketstate.worker.commands.plot.marks import changes, gaps

MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("regimes", "expected"),
    [("", []), ("c", []), ("ccc", []), ("ct", [1]), ("cctcmmc", [2, 3, 4, 6])],
)
def test_the_rows_with_another_regime_than_the_row_before(
    regimes: str, expected: list[int]
) -> None:
    assert changes(np.array([*regimes], dtype="U5")).tolist() == expected


@pytest.mark.parametrize(
    ("minutes", "missing", "expected"),
    [
        ([5], [3], []),
        ([1, 2, 3, 4], [0, 0, 0, 0], []),
        # One candle of a state for each; it leaves the window later.
        ([1, 2, 4, 5, 6], [0, 0, 1, 1, 0], [(2, 4, 1)]),
        # A candle between two states that are an hour apart.
        ([0, 60, 120, 180], [0, 0, 2, 1], [(60, 120, 2)]),
        # Two gaps one after the other.
        ([1, 3, 6], [0, 1, 3], [(1, 3, 1), (3, 6, 2)]),
        # After a long one, the window starts over.
        ([1, 2, 3, 999, 1_000, 1_001], [0, 0, 0, 0, 0, 0], [(3, 999, 995)]),
        # What was missing before the first state is no gap here.
        ([1, 2, 3], [7, 7, 6], []),
    ],
)
def test_gaps_are_where_more_candles_are_missing_than_before(
    minutes: list[int], missing: list[int], expected: list[tuple[int, int, int]]
) -> None:
    times_ms = np.array(minutes, np.int64) * MINUTE_MS
    found = gaps(times_ms, times_ms, np.array(missing, np.int64), MINUTE_MS)
    assert [
        (start // MINUTE_MS, end // MINUTE_MS, candles)
        for start, end, candles in zip(*(each.tolist() for each in found), strict=True)
    ] == expected


def test_closed_hours_are_no_gaps() -> None:
    times_ms = np.array([0, 1, 2, 600, 601, 603], np.int64) * MINUTE_MS
    open_ms = np.array([0, 1, 2, 3, 4, 6], np.int64) * MINUTE_MS
    missing = np.array([0, 0, 0, 0, 0, 1], np.int64)
    found = gaps(times_ms, open_ms, missing, MINUTE_MS)
    assert (found.starts_ms // MINUTE_MS).tolist() == [601]
