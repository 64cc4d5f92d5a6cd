"""A line with as many points as a picture has columns looks like the whole line."""

import numpy as np

from marketstate.worker.commands.plot.figure import figure_bytes
from marketstate.worker.commands.plot.series import of_records
from marketstate.worker.commands.plot.thinning import rows_to_draw
from tests.support.records import make_record

COLUMNS = 100


def walk(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.cumsum(np.random.default_rng(seed).normal(size=count))


def test_each_column_keeps_its_first_last_lowest_and_highest_point() -> None:
    places, lines = np.sort(walk(5_000, 1)), (walk(5_000, 2), walk(5_000, 3))
    rows = rows_to_draw(places, COLUMNS, *lines)
    assert list(rows) == sorted({*rows})
    assert len(rows) <= (2 + 2 * len(lines)) * COLUMNS
    edges = np.linspace(places[0], places[-1], COLUMNS + 1)[1:-1]
    column = np.searchsorted(edges, places, side="right")
    for number in range(COLUMNS):
        inside = np.flatnonzero(column == number)
        kept = np.intersect1d(inside, rows)
        if len(inside):
            assert (kept[0], kept[-1]) == (inside[0], inside[-1])
            for line in lines:
                assert (line[kept].min(), line[kept].max()) == (
                    line[inside].min(),
                    line[inside].max(),
                )


def test_where_a_line_breaks_it_breaks_still() -> None:
    values = walk(5_000, 4)
    values[[0, 700, 701, 4_999]] = np.nan
    rows = rows_to_draw(np.arange(5_000.0), COLUMNS, values)
    assert {0, 700, 701, 4_999} <= {*rows}
    assert np.nanmin(values) in values[rows]
    assert np.nanmax(values) in values[rows]


def test_a_short_line_keeps_all_its_points() -> None:
    for count in (1, 2, 2 * COLUMNS):
        assert list(rows_to_draw(np.arange(float(count)), COLUMNS, walk(count, 5))) == [
            *range(count)
        ]


def test_a_picture_of_many_states_has_no_more_points_than_columns_need() -> None:
    few, many = (
        len(figure_bytes([*of_records(states, count).values()], "svg"))
        for count in (2_400, 7_200)
        if (states := [make_record("BTCUSDT", i, close=100 + i % 7) for i in range(count)])
    )
    assert many < 1.5 * few
