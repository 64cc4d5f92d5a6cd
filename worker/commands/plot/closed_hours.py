"""The hours at which a market is regularly closed, found in the times of its own candles.

A time without a candle is closed if the same time of day, or of the week, has none either in two
other gaps, the nearest ones before it or the nearest after it. So nights and weekends are found,
also when the clocks change, while a gap in a market that never closes stays a gap, as does a
holiday: nobody could tell it from candles that were lost.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]

_DAY_MS: Final = 86_400_000
_WEEK_MS: Final = 7 * _DAY_MS
# The longest holidays that exchanges have; what is longer is told as a gap.
_LONGEST_MS: Final = 10 * _DAY_MS
_OTHER_GAPS: Final = 2
# How many days or weeks to look at for them: a weekend is one gap on several days.
_LOOK_AT: Final = 5
# 1970-01-01 was a Thursday.
_WEEKEND: Final = (2, 3)


class ClosedHours(NamedTuple):
    """Stretches without a candle, in ms since 1970; each ends when the next candle opens."""

    starts_ms: Times
    ends_ms: Times

    def left_out(self, times_ms: Times) -> Times:
        """`times_ms` less the closed time before each: where it is on an axis of open hours."""
        if not len(self.starts_ms):
            return times_ms
        lengths = self.ends_ms - self.starts_ms
        before = np.concatenate(([0], np.cumsum(lengths)))
        at = np.searchsorted(self.starts_ms, times_ms, side="right")
        last = np.maximum(at - 1, 0)
        inside = np.clip(times_ms - self.starts_ms[last], 0, lengths[last])
        return np.where(at == 0, times_ms, times_ms - before[last] - inside)


NEVER_CLOSED: Final = ClosedHours(np.array([], np.int64), np.array([], np.int64))


def closed_hours(times_ms: Times, step_ms: int) -> ClosedHours:
    """The closed hours between sorted close times that are `step_ms` apart as a rule."""
    steps = np.diff(times_ms)
    (before,) = np.nonzero((2 * steps > 3 * step_ms) & (steps <= _LONGEST_MS))
    if step_ms >= _WEEK_MS or len(before) <= _OTHER_GAPS:
        return NEVER_CLOSED
    gaps = [_Gap(times_ms, step_ms, i) for i in before.tolist()]
    nights = [gap.without_candles_every(_DAY_MS) for gap in gaps]
    weeks = [gap.without_candles_every(_WEEK_MS) for gap in gaps]
    free_days = _free_weekdays(times_ms, step_ms) if any(map(np.any, nights)) else []
    stretches = [
        stretch
        for gap, night, week in zip(gaps, nights, weeks, strict=True)
        for stretch in gap.stretches(night | week | np.isin(gap.weekdays, free_days))
    ]
    if not stretches:
        return NEVER_CLOSED
    starts, ends = np.array(stretches, np.int64).T
    return ClosedHours(starts, ends)


def _free_weekdays(times_ms: Times, step_ms: int) -> list[int]:
    """Saturday and Sunday, if they have no candle: a market that closes at night needs no second
    week to show that it closes on them.
    """
    traded = set(_weekdays(times_ms, step_ms).tolist())
    return [day for day in _WEEKEND if day not in traded]


def _weekdays(times_ms: Times, step_ms: int) -> Times:
    middles = times_ms - step_ms // 2
    return middles // _DAY_MS % 7


class _Gap:
    """The times in one gap at which a candle would have closed."""

    def __init__(self, times_ms: Times, step_ms: int, before: int) -> None:
        self._times_ms = times_ms
        self._step_ms = step_ms
        self._last_ms, self._next_ms = (int(ms) for ms in times_ms[before : before + 2])
        first_ms = self._last_ms + step_ms
        self._slots = np.arange(first_ms, self._next_ms - step_ms // 2, step_ms, dtype=np.int64)

    @property
    def weekdays(self) -> Times:
        return _weekdays(self._slots, self._step_ms)

    def without_candles_every(self, period_ms: int) -> NDArray[np.bool_]:
        if self._step_ms >= period_ms:
            return np.zeros(len(self._slots), np.bool_)
        # The nearest times outside this gap.
        back = -(-(self._slots - self._last_ms) // period_ms)
        ahead = -(-(self._next_ms - self._slots) // period_ms)
        return self._in_other_gaps(
            self._slots - back * period_ms, -period_ms
        ) | self._in_other_gaps(self._slots + ahead * period_ms, period_ms)

    def _in_other_gaps(self, wanted: Times, step_ms: int) -> NDArray[np.bool_]:
        """Whether these times, and those a step further on, are in gaps until enough are seen."""
        times = self._times_ms
        seen = np.zeros(len(wanted), np.int64)
        last_gap = np.full(len(wanted), -1)
        still = np.ones(len(wanted), np.bool_)
        for _ in range(_LOOK_AT):
            gap = np.searchsorted(times, wanted - self._step_ms // 2, side="right")
            is_inside = (wanted > times[0]) & (wanted < times[-1])
            nearest = times[np.minimum(gap, len(times) - 1)]
            has_candle = nearest - wanted <= self._step_ms // 2
            still &= (seen == _OTHER_GAPS) | (is_inside & ~has_candle)
            seen += still & (seen < _OTHER_GAPS) & (gap != last_gap)
            last_gap = gap
            wanted = wanted + step_ms
        found: NDArray[np.bool_] = still & (seen == _OTHER_GAPS)
        return found

    def stretches(self, closed: NDArray[np.bool_]) -> list[tuple[int, int]]:
        edges = np.diff(np.concatenate(([False], closed, [False])).astype(np.int8))
        firsts, ends = np.nonzero(edges == 1)[0], np.nonzero(edges == -1)[0]
        return [
            (int(self._slots[first]) - self._step_ms, int(self._slots[end - 1]))
            for first, end in zip(firsts, ends, strict=True)
        ]
