"""Closed hours on plots: what is left out of the time axis, and which gaps stay."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from marketstate.worker.commands.plot.closed_hours import Times, closed_hours

MONDAY = datetime(2025, 2, 3, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def closes(step_ms: int, days: int, is_open: Callable[[datetime], bool] = lambda _: True) -> Times:
    """The close times of the candles of a market, from a Monday on."""
    step = timedelta(milliseconds=step_ms)
    opens = (MONDAY + i * step for i in range(days * DAY_MS // step_ms))
    times = [round(one.timestamp() * 1_000) + step_ms - 1 for one in opens if is_open(one)]
    return np.array(times, np.int64)


def is_share_traded(time: datetime) -> bool:
    there = time.astimezone(NEW_YORK)
    return there.weekday() < 5 and (9, 30) <= (there.hour, there.minute) < (16, 0)


def is_currency_traded(time: datetime) -> bool:
    day, hour = time.weekday(), time.hour
    return day < 4 or (day == 4 and hour < 22) or (day == 6 and hour >= 22)


def is_weekday(time: datetime) -> bool:
    return time.weekday() < 5


def without(times: Times, lost: Iterable[int]) -> Times:
    return np.delete(times, list(lost))


def gaps(times: Times, step_ms: int) -> list[int]:
    """How many candles are missing at each place where some are, closed hours left out."""
    steps = np.diff(closed_hours(times, step_ms).left_out(times))
    return [round(step / step_ms) - 1 for step in steps if step > 1.5 * step_ms]


@pytest.mark.parametrize(
    ("step_ms", "days", "is_open"),
    [
        (HOUR_MS // 2, 80, is_share_traded),  # the clocks change on 9 March
        (HOUR_MS // 12, 10, is_share_traded),  # a single weekend
        (HOUR_MS, 40, is_currency_traded),
        (DAY_MS, 365, is_weekday),
    ],
)
def test_nights_and_weekends_are_left_out_and_lost_candles_stay(
    step_ms: int, days: int, is_open: Callable[[datetime], bool]
) -> None:
    times = closes(step_ms, days, is_open)
    assert gaps(times, step_ms) == []
    assert gaps(without(times, range(104, 107)), step_ms) == [3]


def test_a_holiday_cannot_be_told_from_lost_candles() -> None:
    def is_open(time: datetime) -> bool:
        return is_weekday(time) and (time.month, time.day) != (4, 18)

    assert gaps(closes(DAY_MS, 300, is_open), DAY_MS) == [1]


@pytest.mark.parametrize(
    "lost",
    [
        [range(500, 530)],
        [range(500, 501), range(600, 700)],
        [range(500, 502), range(524, 526)],  # at the same hours of two days
        [range(300, 302), range(300 + 168, 302 + 168)],  # of two weeks
        [range(500, 600), range(610, 620), range(645, 655)],
        [range(100, 100 + 437), range(700, 701), range(800, 801), range(900, 901)],
    ],
)
def test_a_market_that_never_closes_keeps_all_its_gaps(lost: list[range]) -> None:
    times = without(closes(HOUR_MS, 60), [i for one in lost for i in one])
    assert gaps(times, HOUR_MS) == [len(one) for one in lost]


def test_candles_that_are_lost_on_weekends_stay_where_others_trade_then() -> None:
    times = closes(HOUR_MS, 12, lambda time: is_weekday(time) or time.day == 8)
    assert gaps(times, HOUR_MS) == [24]


def test_an_hour_that_is_missing_every_day_is_left_out() -> None:
    assert gaps(closes(HOUR_MS, 20, lambda time: time.hour != 2), HOUR_MS) == []


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_without_gaps_the_axis_is_the_time_itself(count: int) -> None:
    times = closes(HOUR_MS, 20)[:count]
    assert closed_hours(times, HOUR_MS).left_out(times).tolist() == times.tolist()


def test_weeks_and_months_have_no_closed_hours() -> None:
    months = np.cumsum([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) * DAY_MS
    assert len(closed_hours(months, 30 * DAY_MS).starts_ms) == 0


def test_a_time_within_closed_hours_is_where_they_end() -> None:
    times = closes(DAY_MS, 60, is_weekday)
    closed = closed_hours(times, DAY_MS)
    monday = round((MONDAY + timedelta(days=7)).timestamp() * 1_000)
    friday, *weekend = (monday - hours * HOUR_MS - 1 for hours in (48, 30, 5, 0))
    at_friday, *at_weekend = closed.left_out(np.array([friday, *weekend])).tolist()
    assert at_weekend == [at_friday] * 3
