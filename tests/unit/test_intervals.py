"""Intervals and times as exchanges spell them, and how a candle follows the last one."""

import pytest

from marketstate.schemas.interval import close_time_ms, interval_ms, read_interval
from marketstate.schemas.sequence import (
    Place,
    missing_between,
    missing_within,
    place,
    shortest_gap_ms,
)
from marketstate.schemas.times import time_ms

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    "spelled",
    ["1h", "1H", "1hr", "1hour", "1 hour", "1-hour", "ONE_HOUR", "one_hour", "PT1H", "1Hour"],
)
def test_an_hour_is_understood_in_each_spelling(spelled: str) -> None:
    assert read_interval(spelled) == "1h"


@pytest.mark.parametrize(
    ("spelled", "expected"),
    {
        "1m": "1m",
        "1min": "1m",
        "PT15M": "15m",
        "FIFTEEN_MINUTE": "15m",
        "1M": "1M",
        "1mo": "1M",
        "1mon": "1M",
        "P1M": "1M",
        "1D": "1d",
        "P1D": "1d",
        "ONE_DAY": "1d",
        "1W": "1w",
        "4hours": "4h",
        "30S": "30s",
    }.items(),
)
def test_other_intervals_are_understood(spelled: str, expected: object) -> None:
    assert read_interval(spelled) == expected


@pytest.mark.parametrize(
    "text", ["", "60", "1", "0m", "m", "1x", "ONE", "PT", "1m\n", "\n1m", "-1m", "1.5h", "9" * 9]
)
def test_what_is_no_interval_or_ambiguous_is_not_read(text: str) -> None:
    assert read_interval(text) is None


@pytest.mark.parametrize(
    ("opened", "interval", "closes"),
    [
        ("2025-01-01", "1h", "2025-01-01 00:59:59.999"),
        ("2025-01-01", "1M", "2025-01-31 23:59:59.999"),
        ("2024-02-01", "1M", "2024-02-29 23:59:59.999"),
        ("2024-12-01", "1M", "2024-12-31 23:59:59.999"),
        ("2025-01-01", "3M", "2025-03-31 23:59:59.999"),
    ],
)
def test_a_candle_closes_with_the_last_millisecond_of_its_interval(
    opened: str, interval: str, closes: str
) -> None:
    assert close_time_ms(time_ms(opened), interval) == time_ms(closes)


def test_a_month_counts_as_its_average_so_that_many_can_be_counted() -> None:
    month_ms = interval_ms("1M") or 0
    assert 12 * month_ms == 365.2425 * 24 * HOUR_MS
    starts_ms = [
        time_ms(f"{year}-{month:02}-01") for year in range(2000, 2060) for month in range(1, 13)
    ]
    for count in (1, 2, 12, 255, 700):
        spans = zip(starts_ms, starts_ms[count:], strict=False)
        assert {round((end - start) / month_ms) for start, end in spans} == {count}


@pytest.mark.parametrize(
    "text",
    [
        "1735689600",
        "1735689600.0",
        "1735689600000",
        "1735689600000.0",
        "1735689600000000",
        "1735689600000000000",
        "2025-01-01",
        "20250101",
        "2025-01-01 00:00:00",
        "2025-01-01T00:00:00Z",
        "2025-01-01 00:00:00 UTC",
        "2025-01-01T01:00:00+01:00",
        "2025-01-01 00:00:00.000000",
    ],
)
def test_a_time_is_the_same_in_each_spelling(text: str) -> None:
    assert time_ms(text) == 1_735_689_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "1735689600.999": 1_735_689_600_999,
        "1735689600999.9": 1_735_689_600_999,
        "1735689600999999": 1_735_689_600_999,
        "1735689600999999999": 1_735_689_600_999,
        "2025-01-01 00:00:00.999999": 1_735_689_600_999,
    }.items(),
)
def test_what_is_finer_than_a_millisecond_is_cut_off(text: str, expected: object) -> None:
    assert time_ms(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1735689600",
        "1e12",
        "nan",
        "inf",
        "01/02/2025",
        "1999-12-31",
        "2101-01-01",
        "x" * 99,
        "1735689600\n",
        "१७३५६८९६००",
        "9" * 19,
    ],
)
def test_what_is_no_time_or_ambiguous_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        time_ms(text)


@pytest.mark.parametrize(
    ("after_ms", "expected"),
    {
        0: Place.SAME,
        1: Place.SAME,
        -1: Place.SAME,
        HOUR_MS // 2 - 1: Place.SAME,
        HOUR_MS // 2: Place.NEXT,
        -HOUR_MS // 2: Place.BEFORE,
        HOUR_MS: Place.NEXT,
        -HOUR_MS: Place.BEFORE,
    }.items(),
)
def test_a_candle_nearer_than_half_an_interval_is_the_same(after_ms: int, expected: object) -> None:
    last_ms = 1_735_689_599_999
    assert place(last_ms, last_ms + after_ms, HOUR_MS) == expected


def test_missing_candles_are_counted_with_half_an_interval_to_spare() -> None:
    last_ms = 1_735_689_599_999
    steps_ms = (HOUR_MS, HOUR_MS + 1, int(1.4 * HOUR_MS), 2 * HOUR_MS, 438 * HOUR_MS + 1)
    found = [missing_between(last_ms, last_ms + step_ms, HOUR_MS) for step_ms in steps_ms]
    assert found == [0, 0, 0, 1, 437]


def test_missing_candles_of_a_window_are_counted_from_its_ends() -> None:
    first_ms = 1_735_689_599_999
    assert missing_within(first_ms, first_ms + 256 * HOUR_MS, 257, HOUR_MS) == 0
    assert missing_within(first_ms, first_ms + 256 * HOUR_MS + 1, 257, HOUR_MS) == 0
    assert missing_within(first_ms, first_ms + 259 * HOUR_MS, 257, HOUR_MS) == 3
    assert missing_within(first_ms, first_ms + 255 * HOUR_MS, 257, HOUR_MS) == 0


@pytest.mark.parametrize("interval_ms", [1_000, 60_000, 604_800_000])
@pytest.mark.parametrize("missing", [0, 1, 2, 257])
def test_the_shortest_gap_is_that_from_which_on_so_many_candles_are_missing(
    missing: int, interval_ms: int
) -> None:
    gap_ms = shortest_gap_ms(missing, interval_ms)
    assert missing_between(0, gap_ms, interval_ms) == missing
    assert missing == 0 or missing_between(0, gap_ms - 1, interval_ms) == missing - 1
