"""Candles of longer intervals: where their boundaries are, and what closes them."""

from datetime import UTC, datetime

import pytest

from marketstate.schemas.longer import interval_prefix, interval_stream, longer_interval, resampled
from marketstate.schemas.market_state import record_key

MINUTE_MS = 60_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def minutes(first: str, count: int, off_ms: int = -1) -> list[tuple[int, float]]:
    return [(ms(first) + i * MINUTE_MS + off_ms, float(i)) for i in range(count)]


@pytest.mark.parametrize("off_ms", [-1, 0, -1_000, 7])
def test_a_close_is_that_of_the_candle_that_ends_the_longer_one(off_ms: int) -> None:
    """A moment before the full minute or at it, as feeds have it."""
    found = list(resampled(longer_interval("5m", "1m"), minutes("2025-05-04 10:01", 12, off_ms)))
    assert found == [(ms("2025-05-04 10:05") + off_ms, 4.0), (ms("2025-05-04 10:10") + off_ms, 9.0)]


def test_where_that_is_missing_the_last_one_before_the_boundary_counts_when_the_next_comes() -> (
    None
):
    candles = minutes("2025-05-04 10:01", 3)
    longer = longer_interval("5m", "1m")
    assert list(resampled(longer, candles)) == [], "another one may still come"
    boundary_ms = ms("2025-05-04 10:05") - 1
    for later in ("10:06", "10:09", "10:14"):
        after = [*candles, (ms(f"2025-05-04 {later}") - 1, 9.0)]
        assert list(resampled(longer, after)) == [(boundary_ms, 2.0)]
    both = [*candles, (ms("2025-05-04 10:15") - 1, 9.0)]
    assert list(resampled(longer, both)) == [(boundary_ms, 2.0), (ms("2025-05-04 10:15") - 1, 9.0)]


def test_a_candle_that_comes_again_ends_nothing_twice() -> None:
    one = ms("2025-05-04 10:05") - 1, 1.0
    again = ms("2025-05-04 10:05"), 2.0
    assert list(resampled(longer_interval("5m", "1m"), [one, again])) == [one]


def test_weeks_begin_on_monday_and_days_in_utc() -> None:
    days = [(ms("2025-05-01") + i * 1_440 * MINUTE_MS, float(i)) for i in range(1, 15)]
    weeks = list(resampled(longer_interval("1w", "1d"), days))
    assert [time_ms for time_ms, _ in weeks] == [ms("2025-05-05"), ms("2025-05-12")]
    assert datetime.fromtimestamp(weeks[0][0] / 1_000, UTC).strftime("%A") == "Monday"
    hours = minutes("2025-05-04 23:00", 120)
    ends = [time_ms for time_ms, _ in resampled(longer_interval("1d", "1m"), hours)]
    assert ends == [ms("2025-05-05") - 1]


@pytest.mark.parametrize(
    ("name", "shorter"), [("1m", "1m"), ("1m", "5m"), ("7m", "5m"), ("3w", "3d")]
)
def test_what_cannot_be_made_is_refused(name: str, shorter: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} (is not a multiple|does not begin)"):
        longer_interval(name, shorter)


def test_the_keys_are_beside_those_of_the_candle_interval() -> None:
    prefix = interval_prefix("quantum:marketstate:", "5m")
    assert prefix == "quantum:marketstate.5m:"
    assert record_key(prefix, "A") == "quantum:marketstate.5m-record:A"
    assert interval_stream("quantum:stream:marketstate", "5m") == "quantum:stream:marketstate.5m"
